#!/usr/bin/env bash
# An older version of lazyload, then this one, then the older one: on a real API server, and on a real mesh under load (needs root). Nothing that was
# learned may be lost, no Sidecar may become narrower, no request may fail. What was seen is in docs/faults.md.
#   tests/upgrade.sh                   from the commit below
#   tests/upgrade.sh COMMIT            from another one
#   tests/upgrade.sh COMMIT --no-mesh  without the mesh
#   UPGRADE_KEEP=4b73a86 tests/upgrade.sh 4b73a86 --no-mesh     also keeps what it left for the test that ./test.sh runs
set -euo pipefail
cd "$(dirname "$0")/.."

commit=${1:-4b73a86}
sources=$PWD/target/upgrade/$commit
# Its own sources and its own target folder: the older commit, as it was.
mkdir -p "$sources"
git archive "$commit" | tar -x -C "$sources"
(cd "$sources" && cargo build --locked --workspace --bin lazyload)
export UPGRADE_FROM=$sources/target/debug/lazyload

cargo build --locked --workspace --all-targets
cargo test --locked --workspace --test outside -- --ignored --nocapture apiserver::upgrade
[ "${2:-}" = --no-mesh ] || cargo test --locked --workspace --test outside -- --ignored --nocapture mesh::upgrade
