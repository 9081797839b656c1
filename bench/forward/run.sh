#!/usr/bin/env bash
# The forwarder beside Envoy, Go's ReverseProxy and no proxy at all, in one command:
#   bench/forward/run.sh [--short] [OPTION...]   tables and figures, to target/bench/forward.{md,json}
# Options are those of `lazyload-bench-forward measure`, for example --only "HTTP/1.1 100" --rounds 3 --two.
# Everything stays on loopback. Linux, Rust, Go, Python 3 with pip; Envoy comes from PyPI, as for the testbed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
profile=${BENCH_PROFILE:-release}
target=${CARGO_TARGET_DIR:-$root/target}
cache=${TESTBED_CACHE:-${TESTBED:-$HOME/.cache/lazyload-testbed}}
length=()
if [ "${1:-}" = --short ]; then
  shift
  length=(--rounds 1 --warm-ms 150 --measure-ms 300)
fi
cd "$root"
mkdir -p "$target/bench"
envoy=${BENCH_ENVOY:-$cache/bin/envoy}
[ -x "$envoy" ] || testbed/cluster.sh build --only envoy
cargo build --quiet --locked -p lazyload --profile "$profile"
CARGO_TARGET_DIR=$target/bench/build cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml"
(cd "$here/go-reverse-proxy" && GOTOOLCHAIN=local go build -o "$target/bench/go-reverse-proxy" .)
# A thousand connections, twice.
ulimit -n "$(ulimit -Hn)"
"$target/bench/build/release/lazyload-bench-forward" measure --ours "$target/$profile/lazyload" --envoy "$envoy" \
  --go "$target/bench/go-reverse-proxy" --envoy-config "$here/envoy.yaml" --json "$target/bench/forward.json" \
  --markdown "$target/bench/forward.md" "${length[@]}" "$@"
echo "$target/bench/forward.md"
