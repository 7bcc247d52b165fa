# shellcheck shell=bash
# Provider: a kind cluster of our own in the local Docker daemon.

kind_cluster=backfill-operator

up() {
    mkdir -p "$cache/kind"
    if ! kind get clusters 2>/dev/null | grep -x "$kind_cluster" >/dev/null; then
        kind create cluster --name "$kind_cluster" --kubeconfig "$(kubeconfig)" --wait 180s \
            ${BACKFILL_KIND_IMAGE:+--image "$BACKFILL_KIND_IMAGE"} >&2
    fi
    (umask 077 && kind get kubeconfig --name "$kind_cluster" >"$(kubeconfig)")
}

down() {
    kind delete cluster --name "$kind_cluster" >&2
}

setup() {
    mkdir -p "$cache/kind"
    local tool
    for tool in docker kind kubectl; do
        command -v "$tool" >/dev/null || die "$tool is missing"
    done
}

load() {
    kind load docker-image --name "$kind_cluster" "$@" >&2
}

kubeconfig() {
    echo "$cache/kind/kubeconfig"
}
