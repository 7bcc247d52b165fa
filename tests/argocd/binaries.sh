#!/usr/bin/env bash
# Compiles Argo CD and the judge of Flux's kstatus rules from their Go modules into the cache, once for each content of
# go.mod, go.sum and this script, and prints the folder that holds them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}

key=$(cat "$here"/binaries/go.{mod,sum} "$here/binaries/kstatus/main.go" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
bin=$cache/argocd/bin/$key
if [ -e "$bin/.complete" ]; then
    echo "$bin"
    exit
fi
command -v go >/dev/null || { echo "binaries.sh: no 'go' on the PATH: install Go 1.25 or later (https://go.dev/dl)" >&2; exit 1; }
mkdir -p "$bin"
export CGO_ENABLED=0

build() { # output, package, ldflags
    [ -e "$bin/$1" ] && return
    echo "compiling $1 (once; kept in the cache)" >&2
    (cd "$here/binaries" && go build -buildvcs=false -trimpath -ldflags "-s -w ${3:-}" -o "$bin/.$1.partial" "$2" && mv "$bin/.$1.partial" "$bin/$1") >&2
}

build kstatus ./kstatus
# One binary; the name by which it is called picks the part.
build argocd github.com/argoproj/argo-cd/v3/cmd "-X github.com/argoproj/argo-cd/v3/common.version=3.1.9"
for part in argocd-repo-server argocd-application-controller argocd-server; do
    ln -sf argocd "$bin/$part"
done
# What the module brings and the cluster needs.
module=$(cd "$here/binaries" && go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)
rm -rf "$bin/crds"
mkdir "$bin/crds"
cp "$module"/manifests/crds/*-crd.yaml "$bin/crds/"
chmod -R u+w "$bin/crds"

touch "$bin/.complete"
echo "$bin"
