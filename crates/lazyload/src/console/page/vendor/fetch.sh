#!/usr/bin/env bash
# Fetches the libraries of the console's page again, by npm, and compares them byte by byte with what is kept here.
#   fetch.sh           compare
#   fetch.sh --write   keep what was fetched: after a change of a version in sources.txt
# The build does not need it: what is kept here is all that goes into the binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case "$*" in '' | --write) ;; *) echo "usage: fetch.sh [--write]" >&2; exit 2 ;; esac
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

# unpack PACKAGE@VERSION: into $new/PACKAGE, if what came is what the registry says that it is (npm compares the integrity).
unpack() {
  local folder="$new/${1%@*}"
  mkdir -p "$folder"
  tar -xzf "$new/$(cd "$new" && npm pack --silent "$1")" -C "$folder" --strip-components=1
}

grep -v '^#' sources.txt >"$new/sources"
while read -r file package version path; do
  unpack "$package@$version"
  cp "$new/$package/$path" "$new/$file"
done <"$new/sources"
# The one file has Preact in it.
unpack preact@10.5.14
{
  for package in cytoscape htm preact; do
    printf '%s\n\n' "==== $package ===="
    cat "$new/$package/LICENSE"
    printf '\n'
  done
} >"$new/LICENSES.txt"
(cd "$new" && sha256sum cytoscape.js preact.js LICENSES.txt) >"$new/SHA256SUMS"

for file in cytoscape.js preact.js LICENSES.txt SHA256SUMS; do
  if [ "${1:-}" = --write ]; then cp "$new/$file" "$file"; else cmp "$new/$file" "$file"; fi
done
