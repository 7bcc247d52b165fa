# shellcheck shell=bash
# Builds with a Docker daemon (BuildKit).

present() { # image
    docker image inspect "$1" >/dev/null 2>&1
}

build() { # image, Dockerfile, context, more options...
    docker build --quiet --tag "$1" --file "$2" "${@:4}" "$3" >&2
}

# Docker's own 'docker image prune' is the user's to run.
forget_older() { :; }

build_client() {
    docker build --quiet --tag "$client" --file "$root/Dockerfile" --target client "$root" >&2
}

push() { # image
    docker push --quiet "$1" >&2
}
