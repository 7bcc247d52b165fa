#!/usr/bin/env bash
# Compiles an S3 server of the tests (rclone's, or MinIO) from its Go module into the cache, once for each content of its
# go.mod, go.sum, main.go and this script, and prints its path.
set -euo pipefail
name=${1:?rclone or minio}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}

key=$(cat "$here/$name"/go.{mod,sum} "$here/$name/main.go" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
bin=$cache/s3/$key/$name
if [ ! -e "$bin" ]; then
    command -v go >/dev/null || { echo "binary.sh: no 'go' on the PATH: install Go 1.25 or later (https://go.dev/dl)" >&2; exit 1; }
    mkdir -p "$(dirname "$bin")"
    echo "compiling the S3 server $name (once; kept in the cache)" >&2
    # Two may compile at once; each puts a whole file in place.
    partial=$bin.partial.$$
    (cd "$here/$name" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$partial" .) >&2
    mv "$partial" "$bin"
fi
echo "$bin"
