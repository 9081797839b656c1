#!/usr/bin/env bash
# Shows that the image is reproducible: compiles what is committed twice from nothing, in two folders, and compares the bytes. Takes ten minutes or
# more, and 3 GB below FOLDER (default: a temporary folder, removed at the end).
#   image/reproduce.sh [FOLDER]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${1:-}
if [ -z "$work" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
commit=$(git -C "$root" rev-parse HEAD)
for copy in first second-of-another-length; do
  git clone -q --local "$root" "$work/$copy"
  git -C "$work/$copy" checkout -q "$commit"
  CARGO_TARGET_DIR=$work/$copy/target "$work/$copy/image/build.sh" --out "$work/$copy.out" >"$work/$copy.log" 2>&1 || { tail -5 "$work/$copy.log" >&2; exit 1; }
done
(cd "$work" && sha256sum -- */lazyload.tar */lazyload.cdx.json && wc -c -- first.out/lazyload.tar)
for file in lazyload.tar lazyload.cdx.json; do
  cmp "$work/first.out/$file" "$work/second-of-another-length.out/$file"
done
echo "the image and the list of its parts are the same, byte for byte"
