#!/usr/bin/env bash
# Every kind of switch many times under load, with istiods of several speeds: the long form of the test mesh::lossless. Its report is
# docs/switches.md, its raw results target/mesh-report/switches-*.json. Needs root, as the mesh does.
#   tests/switches.sh                              all istiods below, 50 callers, 20 rounds: a thousand switches of each kind for each istiod
#   tests/switches.sh debounce-1s stopped          some of them
#   SWITCHES_CALLERS=10 SWITCHES_ROUNDS=2 tests/switches.sh
#   SWITCHES_UNCALLED=5000 tests/switches.sh       each fence declares so many hosts besides, as in a large mesh
set -euo pipefail
cd "$(dirname "$0")/.."

istiods=("$@")
[ $# -gt 0 ] || istiods=(debounce-100ms debounce-1ms debounce-1s cpu-300m stopped)
export SWITCHES_CALLERS=${SWITCHES_CALLERS:-50} SWITCHES_ROUNDS=${SWITCHES_ROUNDS:-20} SWITCHES_RATE=${SWITCHES_RATE:-500}
cargo build --locked --workspace --all-targets
failed=0
for istiod in "${istiods[@]}"; do
  # In one step once: what it loses at the default debounce shows that the driver sees losses.
  one_step=0; [ "$istiod" != debounce-100ms ] || one_step=${SWITCHES_ONE_STEP_ROUNDS:-5}
  SWITCHES_ISTIOD=$istiod SWITCHES_ONE_STEP_ROUNDS=$one_step \
    cargo test --locked --workspace --test outside -- mesh::lossless --nocapture || failed=1
done

python3 - target/mesh-report/switches-*.json <<'P'
import json, sys
print("| istiod | way | kind | switches | requests | lost | switches with a loss |\n|---|---|---|---|---|---|---|")
for path in sys.argv[1:]:
    report = json.load(open(path))
    for way in report["ways"]:
        for kind in way["kinds"]:
            print("|", " | ".join(str(cell) for cell in (report["istiod"], way["switching"], kind["kind"], kind["switches"], kind["requests"],
                  kind["requests_lost"], kind["switches_with_a_loss"])), "|")
        direct = way["time_to_direct_ms"]
        print("|", " | ".join((report["istiod"], way["switching"], "*time to direct*", f"{direct['probed']} probed",
              f"p50 {direct['p50']:.0f} ms", f"p99 {direct['p99']:.0f} ms", f"sender late {way['sender_late_ms']:.0f} ms")), "|")
P
exit $failed
