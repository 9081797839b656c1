#!/usr/bin/env bash
# All benchmarks in one command: bench/run.sh [--short|--check] [NAME...]
#   NAME      cold-start, churn, ingest, istio, direct, forward; default: all of them
#   --short   minutes instead of an hour, with figures that say little
#   --check   development builds, two minutes: fails if a ratio to a peer is much worse than it was
# What was measured goes to target/bench/NAME.json; the page docs/benchmarks.md, its plots, and the tables of docs/scale.md are made of all that is there.
# Everything stays on loopback. Linux, Rust, Go, Python 3 with pip; Kubernetes, istiod and Envoy come as for the testbed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cache=${TESTBED_CACHE:-${TESTBED:-$HOME/.cache/lazyload-testbed}}
profile=${BENCH_PROFILE:-release} length=full
case ${1:-} in
  --short) length=short; shift ;;
  --check) length=check profile=dev; shift ;;
esac
names=("$@")
if [ $# = 0 ]; then
  names=(cold-start churn ingest istio direct forward)
  [ "$length" != check ] || names=(cold-start ingest forward)
fi
cd "$root"
mkdir -p "$target/bench"
wants() { [[ " ${names[*]} " = *" $1 "* ]]; }
{ [ -x "$cache/bin/etcd" ] && [ -x "$cache/bin/kube-apiserver" ]; } || testbed/cluster.sh build --only apiserver
if wants istio; then
  { [ -x "$cache/bin/pilot-discovery" ] && [ -x "$cache/bin/envoy" ]; } || testbed/cluster.sh build
fi
if [ "$profile" = dev ]; then
  # The same choice of packages as everywhere.
  cargo build --quiet --locked --workspace --all-targets
  built=debug
else
  cargo build --quiet --locked -p lazyload --profile "$profile"
  built=$profile
fi
suite_profile=release suite=release
[ "$length" != check ] || suite_profile=dev suite=debug
CARGO_TARGET_DIR=$target/bench/build cargo build --quiet --locked --profile "$suite_profile" --manifest-path bench/Cargo.toml -p lazyload-bench-suite
[ "$length" != check ] || CARGO_TARGET_DIR=$target/bench/build cargo test --quiet --locked --manifest-path bench/Cargo.toml -p lazyload-bench-common
bench=$target/bench/build/$suite/lazyload-bench-suite
crds=$cache/charts/base/files/crd-all.gen.yaml
[ -e "$crds" ] || crds=tests/apiserver/istio_crds.yaml
programs=(--lazyload "$target/$built/lazyload" --binaries "$cache/bin" --istio-crds "$crds")

declare -A options
case $length in
  short)
    options=([cold-start]="--rounds 2 --services 500,1000 --idle-seconds 5" [churn]="--rounds 1 --services 500 --seconds 5 --new 20"
      [ingest]="--rounds 2 --entries 1000000 --new-hosts 10 --first-calls 10" [istio]="--services 190,400 --rounds 1 --burst 1,10,40") ;;
  check)
    # What was seen with these builds, and with a deliberate slow-down: docs/development.md.
    options=([cold-start]="--rounds 3 --services 200 --idle-seconds 1 --at-most 1.6"
      [ingest]="--rounds 3 --entries 200000 --new-hosts 1 --first-calls 1 --at-least 1.2") ;;
esac
for name in cold-start churn ingest istio; do
  wants "$name" || continue
  echo "== $name" >&2
  extra=()
  [ "$name" != istio ] || extra=(--istiod "$cache/bin/pilot-discovery" --envoy "$cache/bin/envoy")
  read -ra more <<<"${options[$name]:-}"
  json=$target/bench/$name.json
  [ "$length" != check ] || json=$target/bench/check-$name.json
  "$bench" "$name" "${programs[@]}" "${extra[@]}" "${more[@]}" --json "$json"
done
if wants cold-start && [ "$length" = full ]; then
  # More pods for each Service: what a pod costs is told from what a Service costs by that.
  "$bench" cold-start "${programs[@]}" --rounds 1 --services 1000,5000 --pods-each 20 --json "$target/bench/cold-start-pods.json"
fi
if wants direct; then
  # On the testbed's mesh, root needed; with the development build, whose share of these times is small.
  times=5
  [ "$length" = full ] || times=1
  echo "== direct" >&2
  cargo build --quiet --locked --workspace --all-targets
  DIRECT_TIMES=$times CI=1 cargo test --quiet --locked --workspace --test outside -- mesh::switch
  cp "$root/target/mesh-report/time-to-direct.json" "$target/bench/direct.json"
fi
if wants forward; then
  how=()
  [ "$length" = full ] || how=("--$length")
  BENCH_PROFILE=$profile bench/forward/run.sh "${how[@]}"
fi
if [ "$length" != check ]; then
  "$bench" report --from "$target/bench" --preface bench/preface.md --plots docs/benchmarks --page docs/benchmarks.md --scale docs/scale.md
  echo "docs/benchmarks.md, docs/scale.md"
fi
