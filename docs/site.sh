#!/usr/bin/env bash
# Makes the documentation a site in target/site, by mdBook, which is installed below target/tools where it is missing (some minutes, once).
#   docs/site.sh            makes it
#   docs/site.sh serve      makes it and shows it on http://localhost:3000, again after each edit
set -euo pipefail
cd "$(dirname "$0")/.."
MDBOOK=0.5.4
tools=target/tools
tool=$tools/bin/mdbook
[ "$("$tool" --version 2>/dev/null)" = "mdbook v$MDBOOK" ] ||
  cargo install --locked --quiet --force --root "$tools" --target-dir "$tools/target" "mdbook@$MDBOOK"
"$tool" "${1:-build}"
