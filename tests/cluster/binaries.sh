#!/usr/bin/env bash
# Compiles the parts of the native cluster from their Go modules into the cache, once for each content of the
# go.sum files, and prints the folder that holds them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}

kubernetes=v1.35.4
helm=v4.3.1
kubeconform=v0.8.0
local_path_provisioner=v0.0.30

key=$(cat "$here"/kubernetes/go.{mod,sum} "$here"/coredns/go.{mod,sum} "$here"/coredns/main.go "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
bin=$cache/bin/$key
if [ -e "$bin/.complete" ]; then
    echo "$bin"
    exit
fi
command -v go >/dev/null || { echo "binaries.sh: no 'go' on the PATH: install Go 1.25 or later (https://go.dev/dl), or choose the kind provider" >&2; exit 1; }
mkdir -p "$bin"
export CGO_ENABLED=0

build() { # folder, output, package, ldflags
    [ -e "$bin/$2" ] && return
    echo "compiling $2 (once; kept in the cache)" >&2
    (cd "$here/$1" && go build -buildvcs=false -trimpath -ldflags "-s -w ${4:-}" -o "$bin/.$2.partial" "$3" && mv "$bin/.$2.partial" "$bin/$2") >&2
}
install() { # output, package@version
    [ -e "$bin/$1" ] && return
    echo "compiling $1 (once; kept in the cache)" >&2
    GOBIN=$bin go install -trimpath -ldflags "-s -w" "$2" >&2
}

# Without the version the server calls itself v0.0.0, and clients misbehave.
version="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    build kubernetes "$name" "k8s.io/kubernetes/cmd/$name" "$version"
done
build kubernetes etcd go.etcd.io/etcd/server/v3
build coredns coredns .
install helm helm.sh/helm/v4/cmd/helm@$helm
install kubeconform github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform
install local-path-provisioner github.com/rancher/local-path-provisioner@$local_path_provisioner

touch "$bin/.complete"
echo "$bin"
