#!/usr/bin/env bash
# Prints the folder of CloudNativePG's own definitions, out of its Go module: what tests read is what it would write.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v go >/dev/null || { echo "crds.sh: no 'go' on the PATH: install Go 1.25 or later (https://go.dev/dl)" >&2; exit 1; }
folder=$(go mod download -json github.com/cloudnative-pg/cloudnative-pg | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
echo "$folder/config/crd/bases"
