# shellcheck shell=bash
# Brings a built image to where the cluster takes images from.

deliver() { # image
    case $provider in
        native) import "$1" ;;
        kind) "$here/cluster" load "$1" ;;
        context)
            [ -n "${BACKFILL_REGISTRY:-}" ] || die "set BACKFILL_REGISTRY to a registry that the cluster reads from"
            push "$1"
            ;;
    esac
}

# Only the blobs that the cluster has not yet go over: after a change of code that is one layer.
import() { # image
    local image=$1 name=${1%:*} layout work
    present_in_cluster "$image" && return
    layout=$cache/image/layout/${name##*/}
    work=$(mktemp -d)
    mkdir -p "$layout"
    buildah_own push --quiet --compression-level 1 "$image" "oci:$layout:$image"

    local manifest
    manifest=$(jq -r --arg image "$image" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $image) | .digest' "$layout/index.json")
    jq --arg image "$image" --arg digest "$manifest" '
        .manifests |= [.[] | select(.digest == $digest) | .annotations = {"io.containerd.image.name": $image}]' "$layout/index.json" >"$work/index.json"
    cp "$layout/oci-layout" "$work/"
    mkdir -p "$work/blobs/sha256"
    { echo "$manifest" && jq -r '.config.digest, .layers[].digest' "$layout/blobs/sha256/${manifest#sha256:}"; } | sort -u >"$work/all"
    cluster_ctr content ls -q | sort | comm -13 - "$work/all" | while read -r digest; do
        ln "$layout/blobs/sha256/${digest#sha256:}" "$work/blobs/sha256/"
    done
    # With a name by digest, too, a pod's status says the digest as it would after a pull.
    tar --create --directory "$work" oci-layout index.json blobs |
        cluster_ctr images import --base-name "$name" --digests - >&2
    forget_all_but "$layout" "$image" "$work/all"
    rm -rf "$work"
}

# The blobs of the image just sent serve the next one; older ones do not.
forget_all_but() { # layout, image, file with digests
    local blob
    jq --arg image "$2" '.manifests |= [.[] | select(.annotations["org.opencontainers.image.ref.name"] == $image)]' "$1/index.json" >"$1/index.json.partial"
    mv "$1/index.json.partial" "$1/index.json"
    for blob in "$1"/blobs/sha256/*; do
        grep -q "${blob##*/}" "$3" || rm "$blob"
    done
}

present_in_cluster() { # image
    [ -n "$(cluster_ctr images ls -q "name==$1")" ]
}

cluster_ctr() {
    ctr --address "$cache/native/containerd/containerd.sock" --namespace k8s.io "$@" ||
        die "the cluster does not answer: 'cluster up' first"
}
