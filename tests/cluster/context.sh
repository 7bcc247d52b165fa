# shellcheck shell=bash
# Provider: a kube context that the user names by BACKFILL_CONTEXT. It is used as it is, never started or ended.

up() {
    local file
    file=$(kubeconfig)
    kubectl --kubeconfig "$file" --request-timeout=10s get --raw /readyz >/dev/null ||
        die "the cluster of context '$BACKFILL_CONTEXT' does not answer"
}

down() {
    echo "cluster: the cluster of context '${BACKFILL_CONTEXT:-}' is not ours, left as it is" >&2
}

setup() {
    command -v kubectl >/dev/null || die "kubectl is missing"
}

load() {
    die "images cannot be loaded into somebody's cluster: push them to a registry that it reads from (BACKFILL_REGISTRY, see image)"
}

# A copy with this one context, so that nothing run against it can reach another cluster.
kubeconfig() {
    [ -n "${BACKFILL_CONTEXT:-}" ] || die "the context provider needs BACKFILL_CONTEXT"
    local file=$cache/context/kubeconfig
    mkdir -p "$cache/context"
    (umask 077 && kubectl config view --context "$BACKFILL_CONTEXT" --minify --flatten >"$file.partial") ||
        die "no kube context '$BACKFILL_CONTEXT'"
    mv "$file.partial" "$file"
    echo "$file"
}
