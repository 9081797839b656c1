#!/usr/bin/env bash
# Faults at random on a real mesh, for half an hour: the long form of the test mesh::faults. What was seen is in docs/faults.md, the raw result in
# target/mesh-report/soak.json. Needs root, as the mesh does.
#   tests/soak.sh                                  30 minutes, a seed of its own, which is printed
#   SOAK_MINUTES=10 SOAK_SEED=7 tests/soak.sh      the faults of that seed
set -euo pipefail
cd "$(dirname "$0")/.."

export SOAK_MINUTES=${SOAK_MINUTES:-30}
cargo build --locked --workspace --all-targets
cargo test --locked --workspace --test outside -- mesh::faults --nocapture

python3 - target/mesh-report/soak.json <<'P'
import collections, json, sys
report = json.load(open(sys.argv[1]))
rows = collections.defaultdict(list)
for row in report["faults"]:
    rows[row["fault"]].append(row)
print(f"seed {report['seed']}, {report['minutes']} minutes, {report['calls']} calls beside the loads, {len(report['calls_failed'])} of them failed")
print("| fault | times | direct: sent, failed, slowest | fallback: sent, failed, slowest |\n|---|---|---|---|")
for fault, times in sorted(rows.items()):
    cells = []
    for way in ("direct", "fallback"):
        of = [row[way] for row in times]
        cells.append(f"{sum(w['sent'] for w in of):,}, {sum(w['failed'] for w in of)}, {max(w['slowest_ms'] for w in of):.0f} ms")
    print(f"| {fault} | {len(times)} | {cells[0]} | {cells[1]} |")
P
