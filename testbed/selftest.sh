#!/usr/bin/env bash
# Shows that the testbed cleans up after itself: starts, interrupts and removes clusters of its own (in a temporary folder, with the
# shared cache) and compares what the machine looks like before and after. About four minutes; a cluster that is up is not touched.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER=$HERE/cluster.sh
TESTBED_CACHE=${TESTBED_CACHE:-${TESTBED:-${XDG_CACHE_HOME:-$HOME/.cache}/lazyload-testbed}}; export TESTBED_CACHE
WORK=$(mktemp -d); A=$WORK/a B=$WORK/b
failures=0
unset TESTBED_INDEX

on() { TESTBED=$1 "$CLUSTER" "${@:2}"; }
check() { # check WHAT COMMAND...
  local began=$SECONDS
  if "${@:2}" >"$WORK/out" 2>&1; then echo "ok      $1 ($((SECONDS - began)) s)"
  else echo "FAILED  $1"; sed 's/^/        /' "$WORK/out" | tail -15; failures=$((failures + 1)); fi
}
# Everything that a cluster could leave outside its folder, and only that of clusters below $WORK.
traces() {
  grep -F "$WORK" /proc/mounts
  find /sys/fs/cgroup -maxdepth 2 -name 'lazyload-testbed-*' | grep -F -e "$(cgroup "$A")" -e "$(cgroup "$B")"
  grep -lF "$WORK" /sys/class/net/*/ifalias 2>/dev/null
  find /run/netns -name 'cni-*' 2>/dev/null
  iptables-save 2>/dev/null | grep -E 'KUBE-|CNI-'
  ls -d "$A/run" "$B/run" 2>/dev/null
  local p; for p in /proc/[0-9]*; do
    [ "${p#/proc/}" = $$ ] || { tr '\0' ' ' <"$p/cmdline" | grep -F "$WORK/" | sed "s|^|${p#/proc/}: |"; } 2>/dev/null
  done
}
cgroup() { echo "lazyload-testbed-$(printf %s "$1/run" | sha256sum | cut -c1-8)"; }
no_traces() { local t; t=$(traces); echo "$t"; [ -z "$t" ]; }
same_machine() { local now; now=$(machine); diff <(echo "$MACHINE") <(echo "$now"); }
machine() { ip -br link | cut -d' ' -f1; ip route; cat /proc/sys/net/ipv4/ip_forward; iptables-save 2>/dev/null | grep -v '^[#:]'; wc -l </proc/mounts; }
says() { local want=$1 out; shift; out=$("$@" 2>&1); echo "$out"; grep -qF "$want" <<<"$out"; }
index() { cat "$1/run/index"; }
both_well()   { on "$A" status && on "$B" status; }
open_a_page() { eval "$(on "$A" env)"; kubectl exec deploy/ratings-v1 -- curl -sf -o /dev/null productpage:9080/productpage; }
kill_dns()    { kill -9 "$(on "$A" status | awk '/^coredns/ {print $3}')"; }
not_well()    { ! on "$A" status; }
one_started() { cat "$WORK/first" "$WORK/second"; [ "$(cat "$WORK/first" "$WORK/second" | grep -c 'already up')" = 1 ]; }
trap 'on "$A" down >/dev/null 2>&1; on "$B" down >/dev/null 2>&1; rm -rf "$WORK"' EXIT

MACHINE=$(machine)
for after in 0.3 0.7 1.5 3 5 8 11; do
  for signal in INT KILL; do
    TESTBED=$A timeout -s $signal $after "$CLUSTER" up >/dev/null 2>&1
    if [ "$signal" = INT ]; then
      check "down after SIGINT at $after s" on "$A" down
      check "  nothing left" no_traces
    fi # after SIGKILL the next round's up, or the one below, has to cope with what is there
  done
done
check "up after a killed up" on "$A" up
check "status" on "$A" status
check "a second up says so" says "already up" on "$A" up
check "a second cluster beside it" on "$B" up
check "  on other addresses" test "$(index "$A")" != "$(index "$B")"
check "  both well" both_well
check "a taken index is refused by name" says "owner: $A/run" env TESTBED="$WORK/c" TESTBED_INDEX="$(index "$A")" "$CLUSTER" up
TESTBED=$WORK/c "$CLUSTER" down 2>/dev/null
check "down of one" on "$B" down
check "  leaves the other well" on "$A" status
check "bookinfo up" on "$A" bookinfo up
check "  a page through both proxies" open_a_page
check "bookinfo down" on "$A" bookinfo down
kill_dns
check "a dead component is seen" not_well
check "  and the next up starts anew" on "$A" up
kill -9 "$(cut -d' ' -f1 "$A/run/holder")"
check "down after the holder was killed" on "$A" down
check "  nothing left" no_traces
(on "$A" up >"$WORK/first" 2>&1) & (on "$A" up >"$WORK/second" 2>&1) & wait
check "two ups at once: one starts" one_started
check "down" on "$A" down
check "down again" on "$A" down
check "  nothing left" no_traces
check "  the machine is as before" same_machine
echo "$failures failures"
[ "$failures" = 0 ]
