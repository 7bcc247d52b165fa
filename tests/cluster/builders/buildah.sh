# shellcheck shell=bash
# Builds with buildah, without a daemon and without a registry: the base image is made by mmdebstrap from Debian's
# packages, once for each content of its options.

store=$cache/buildah
base=docker.io/library/debian:trixie-slim
# What Docker's slim image leaves out, too.
base_options=(
    --variant=minbase --include=ca-certificates
    --aptopt='Acquire::Languages "none"'
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*'
    trixie
)

buildah_own() {
    BUILDAH_ISOLATION=chroot STORAGE_DRIVER=$(storage_driver) buildah --root "$store/root" --runroot "$store/run" "$@"
}

# overlay, or where the cache's file system cannot carry it, copies.
storage_driver() {
    if [ ! -e "$store/driver" ]; then
        mkdir -p "$store"
        if STORAGE_DRIVER=overlay buildah --root "$store/root" --runroot "$store/run" images >/dev/null 2>&1; then
            echo overlay >"$store/driver"
        else
            rm -rf "$store/root" "$store/run"
            echo vfs >"$store/driver"
        fi
    fi
    cat "$store/driver"
}

present() { # image
    buildah_own inspect --type image "$1" >/dev/null 2>&1
}

build() { # image, Dockerfile, context, more options...
    local log=$store/build.log
    buildah_own build --layers --pull-never --tag "$1" --file "$2" "${@:4}" "$3" >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        die "buildah could not build $1 ($log)"
    }
}

# Keeps the newest of an image's names: a build a minute would fill the disk. What the cluster runs, it has itself.
forget_older() { # image
    local -a older
    mapfile -t older < <(buildah_own images --format '{{.Name}}:{{.Tag}}' | grep -F "${1%:*}:" | grep -vxF "$1")
    [ ${#older[@]} -eq 0 ] || buildah_own rmi "${older[@]}" >/dev/null
}

build_client() {
    make_base
    mkdir -p "$store/empty"
    build "$client" "$root/Dockerfile" "$store/empty" --target client
}

make_base() {
    local key tar container
    key=localhost/backfill-base:$(echo "${base_options[@]}" | sha256sum | cut -c1-12)
    present "$key" && return
    echo "image: making $base from packages (once; kept in the cache)" >&2
    tar=$store/base.tar
    mmdebstrap --quiet "${base_options[@]}" "$tar" >"$store/base.log" 2>&1 || {
        tail -n 20 "$store/base.log" >&2
        die "mmdebstrap could not make $base ($store/base.log)"
    }
    container=$(buildah_own from scratch)
    buildah_own add --quiet "$container" "$tar" / >/dev/null
    buildah_own config --cmd bash "$container"
    buildah_own commit --quiet "$container" "$base" >/dev/null
    buildah_own rm "$container" >/dev/null
    buildah_own tag "$base" "$key"
    rm "$tar"
}

push() { # image
    buildah_own push --quiet "$1" "docker://$1" >&2
}
