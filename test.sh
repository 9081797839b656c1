#!/usr/bin/env bash
# All tests: unit, golden and property tests, a real kube-apiserver, the forwarder beside Envoy, the console in a browser, five seconds of each
# fuzz target, ratios of benchmarks, a real Istio mesh. Installs what they need (see testbed/).
# On two cores a cold machine needs about an hour, a warm one three quarters of that.
#   ./test.sh            everything
#   ./test.sh --no-mesh  everything but the real mesh (no root needed)
set -euo pipefail
cd "$(dirname "$0")"

mesh=1
case "${1:-}" in
  --no-mesh) mesh=0 ;;
  "") ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

if [ "$mesh" = 1 ]; then
  was_up=0; testbed/cluster.sh status >/dev/null 2>&1 && was_up=1
  if [ "$(id -u)" = 0 ]; then
    testbed/cluster.sh up
    # A cluster that these tests started ends with them.
    [ "$was_up" = 1 ] || trap 'testbed/cluster.sh down' EXIT
  elif [ -n "${CI:-}" ]; then
    echo "test.sh: the real mesh needs root, and in CI nothing is left out" >&2; exit 1
  else
    echo "*** NOT RUN: the real mesh (it needs root). ***" >&2; mesh=0
  fi
else
  echo "*** NOT RUN: the real mesh (--no-mesh). ***" >&2
fi

# The same choice of packages everywhere, or cargo compiles the dependencies once more with other features.
cargo build --locked --workspace --all-targets
cargo test --locked --workspace --lib --bins --test boot --test decisions
cargo test --locked --workspace --test outside -- apiserver:: conformance:: console:: packaging:: --test-threads=2
if command -v "${CXX:-c++}" >/dev/null; then
  fuzz/run.sh all 5 >target/fuzz.log 2>&1 || { tail -50 target/fuzz.log >&2; exit 1; }
elif [ -n "${CI:-}" ]; then
  echo "test.sh: fuzzing needs a C++ compiler, and in CI nothing is left out" >&2; exit 1
else
  echo "*** NOT RUN: fuzzing (it needs a C++ compiler). ***" >&2
fi
bench/run.sh --check
if [ "$mesh" = 1 ]; then
  cargo test --locked --workspace --test outside -- mesh:: --test-threads=1 --nocapture
fi
