#!/usr/bin/env bash
# Compiles the S3 server of the tests (rclone's, from its Go module) into the cache, once for each content of go.mod,
# go.sum, main.go and this script, and prints its path.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}

key=$(cat "$here"/go.{mod,sum} "$here/main.go" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
bin=$cache/s3/$key/rclone
if [ ! -e "$bin" ]; then
    command -v go >/dev/null || { echo "binary.sh: no 'go' on the PATH: install Go 1.25 or later (https://go.dev/dl)" >&2; exit 1; }
    mkdir -p "$(dirname "$bin")"
    echo "compiling rclone's S3 server (once; kept in the cache)" >&2
    # Two may compile at once; each puts a whole file in place.
    partial=$bin.partial.$$
    (cd "$here" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$partial" .) >&2
    mv "$partial" "$bin"
fi
echo "$bin"
