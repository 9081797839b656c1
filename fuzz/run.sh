#!/usr/bin/env bash
# Fuzzes one target, or all of them one after the other: fuzz/run.sh TARGET|all SECONDS. Stable Rust: the coverage is LLVM's own, asked for
# with flags that cargo-fuzz sets too.
# What is found lies in fuzz/artifacts; give its path as a third argument to see it again.
set -euo pipefail
cd "$(dirname "$0")"
targets="access_log log_line authority cluster alias settings evidence identity objects"
target=${1:-} seconds=${2:-}
if [[ " all $targets " != *" $target "* || -z $target || -z $seconds || ( $target = all && -n ${3:-} ) ]]; then
  echo "usage: fuzz/run.sh TARGET|all SECONDS, fuzz/run.sh TARGET SECONDS FILE; TARGET is one of: $targets" >&2
  exit 2
fi
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes="$passes -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
# With --target, the flags are for the fuzzed code alone and not for build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$passes CARGO_TARGET_DIR=$target_dir cargo build --locked --release --quiet --target "$host"
program=$target_dir/$host/release/lazyload-fuzz
if [[ -n ${3:-} ]]; then
  FUZZ_TARGET=$target exec "$program" "$3"
fi
[ "$target" = all ] || targets=$target
for target in $targets; do
  mkdir -p "corpus/$target" "artifacts/$target"
  FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=4096 -artifact_prefix="artifacts/$target/" -print_final_stats=1 "corpus/$target" "seeds/$target"
done
