#!/usr/bin/env bash
# The forwarder under mixed traffic whose destinations die and come back: bench/forward/soak.sh [--short] [OPTION...]
# Ten minutes, or twenty seconds. Exit code 1 if memory or descriptors grow, or a request is lost that could be answered.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
profile=${BENCH_PROFILE:-release}
target=${CARGO_TARGET_DIR:-$root/target}
length=()
if [ "${1:-}" = --short ]; then
  shift
  length=(--seconds 20)
fi
cd "$root"
cargo build --quiet --locked -p lazyload --profile "$profile"
CARGO_TARGET_DIR=$target/bench/build cargo build --quiet --locked --release --manifest-path "$root/bench/Cargo.toml" -p lazyload-bench-forward
mkdir -p "$target/bench"
exec "$target/bench/build/release/lazyload-bench-forward" soak --ours "$target/$profile/lazyload" --json "$target/bench/soak.json" \
  "${length[@]}" "$@"
