# The space that a cluster lives in: one network, mount and PID namespace, held by one process.
#
# Everything that the cluster starts (etcd ... containers and their shims), mounts, or writes into iptables lives inside, so the
# kernel itself takes all of it away when the holder's first process dies. Outside there is only
#   the folder $RUN       one network link `testbedN`       one cgroup of each hierarchy
# Several clusters run side by side: inside, all use the same ports; outside, N (0..9) gives each its own link and subnets.
# Creating the link is the claim on N, its alias names the owner; the kernel drops it with the network namespace.
# shellcheck shell=bash disable=SC2034  # read by the other parts

addresses() { # addresses N
  INDEX=$1 LINK=testbed$1
  POD_NET=10.$((244 + $1)) SVC_NET=10.$((96 + $1))      # both /16
  NODE_IP=$POD_NET.0.1 HOST_IP=$POD_NET.0.2 DNS_IP=$SVC_NET.0.10
  API=https://$NODE_IP:6443
}
CGROUP=lazyload-testbed-$(printf %s "$RUN" | sha256sum | cut -c1-8)
cgroup_roots() { # one line for each hierarchy: a single one with cgroup v2, one for each controller with v1
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup
  else find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d; fi
}

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }   # clock ticks since boot: pid + this = one process

# holder: prints the pid of the living holder, or fails. A recycled pid has another start time.
holder() {
  local pid started
  read -r pid started 2>/dev/null <"$RUN/holder" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && echo "$pid"
}

# inside COMMAND...: runs a command in the cluster's namespaces.
inside() {
  local h; h=$(holder) || die "the cluster is not up: $0 up"
  nsenter --net="/proc/$h/ns/net" --mount="/proc/$h/ns/mnt" --pid="/proc/$h/ns/pid_for_children" -- "$@"
}

# start NAME COMMAND...: a background process inside, whose pid (as seen inside) is recorded and whose output is logged.
start() {
  local name=$1; shift
  # shellcheck disable=SC2016
  inside setsid --fork bash -c 'echo $$ >"$0"; exec "$@"' "$RUN/pids/$name" "$@" </dev/null >"$LOG/$name.log" 2>&1 9>&-
}

# host_pids: "INSIDE OUTSIDE NAME" for every process of the space.
host_pids() {
  local h ns p; h=$(holder) || return 0
  ns=$(readlink "/proc/$h/ns/pid_for_children")
  for p in /proc/[0-9]*; do
    [ "$(readlink "$p/ns/pid" 2>/dev/null)" = "$ns" ] || continue
    awk -v out="${p#/proc/}" '/^Name:/ {n = $2} /^NSpid:/ {print $NF, out, n}' "$p/status" 2>/dev/null || true
  done
}

# The first process inside reaps what others leave behind; empty /run, /var/lib, /var/log keep sockets, CNI's records and
# network namespace handles off the host.
# shellcheck disable=SC2016
FIRST='
  for d in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 testbed "$d"; done
  mkdir -p /run/netns /run/lock
  ip link set lo up
  echo ready >"$0/space"
  while :; do sleep 3600 & wait $!; done'

open_space() {
  mkdir -p "$RUN" "$LOG" "$RUN/pids"
  # The holder records itself before it becomes unshare: there is no moment at which it lives unrecorded.
  # shellcheck disable=SC2016
  setsid bash -c 'echo "$$ $(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)" >"$0/holder"
    exec unshare --net --mount --pid --fork --mount-proc --kill-child=SIGKILL -- bash -c "$1" "$0"' \
    "$RUN" "$FIRST" </dev/null >"$LOG/space.log" 2>&1 9>&- &
  wait_for 10 test -e "$RUN/space" || die "cannot create namespaces: $(cat "$LOG/space.log")"
  claim_index
  local root; for root in $(cgroup_roots); do
    mkdir -p "$root/$CGROUP"
    # cgroup v1 cpusets start empty and accept no process until they are filled
    if [ -f "$root/$CGROUP/cpuset.cpus" ] && [ -f "$root/cpuset.mems" ]; then
      cat "$root/cpuset.cpus" >"$root/$CGROUP/cpuset.cpus"; cat "$root/cpuset.mems" >"$root/$CGROUP/cpuset.mems"
    fi
    # All pods together would get what one compiler gets: they are as many as eight of them.
    if [ -f "$root/$CGROUP/cpu.shares" ]; then echo 8192 >"$root/$CGROUP/cpu.shares" || say "its pods have the share of a single process"; fi
  done
  # Routes inside: to the pods and, because the kernel wants a route before iptables can redirect, to the Services. No default
  # route: nothing leaves this machine.
  inside bash -c "set -e
    ip link add node type bridge; ip link set uplink master node; ip link set uplink up; ip link set node up
    ip addr add $NODE_IP/16 dev node; ip route add $SVC_NET.0.0/16 dev node
    echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"
  ip addr add "$HOST_IP/16" dev "$LINK"; ip link set "$LINK" up
  ip route add "$SVC_NET.0.0/16" via "$NODE_IP" dev "$LINK"   # Services answer on the host too
}

claim_index() {
  local n wanted=${TESTBED_INDEX:-} h why; h=$(holder)
  [[ -z $wanted || $wanted =~ ^[0-9]$ ]] || die "TESTBED_INDEX must be 0..$((MAX_CLUSTERS - 1))"
  for n in ${wanted:-$(seq 0 $((MAX_CLUSTERS - 1)))}; do
    addresses "$n"
    drop_orphan
    # Routes inside our subnets that are not this link's: somebody else (a VPN, docker, a plain cluster) lives there.
    why=$(ip -4 route show root "$POD_NET.0.0/16"; ip -4 route show root "$SVC_NET.0.0/16")
    if [ -z "$why" ] && ip link add "$LINK" type veth peer name uplink netns "$h" 2>/dev/null; then
      ip link set "$LINK" alias "$RUN"
      echo "$n" >"$RUN/index"
      return
    fi
    [ -z "$wanted" ] || die "index $n ($POD_NET.0.0/16, $SVC_NET.0.0/16) is taken: ${why:-link $LINK exists} (owner: $(link_owner "$LINK"))"
  done
  die "no free index: $(for ((n = 0; n < MAX_CLUSTERS; n++)); do echo -n "testbed$n=$(link_owner "testbed$n") "; done)"
}
# The folder of a killed cluster was deleted before its link went: nobody else will remove it.
drop_orphan() {
  local owner; owner=$(link_owner "$LINK")
  [[ $owner != /* ]] || [ -d "$owner" ] || ip link del "$LINK"
}
link_owner() { local a; a=$(cat "/sys/class/net/$1/ifalias" 2>/dev/null) || a='no testbed'; echo "${a:-unknown}"; }

# close_space: ends the holder, and with it everything inside; then removes the three things outside.
close_space() {
  local h child root d; h=$(holder) || h=
  if [ -n "$h" ]; then
    child=$(cat "/proc/$h/task/$h/children" 2>/dev/null || true)
    # The namespace's first process ends only after the kernel has killed all others, and unshare only after it.
    # shellcheck disable=SC2086
    kill -KILL ${child:-$h} 2>/dev/null || true
    wait_for 30 holder_gone || die "process $h does not end: look at /proc/$h/stack"
  fi
  if [ -f "$RUN/index" ]; then
    addresses "$(cat "$RUN/index")"
    # The kernel drops the link with the namespace: at once, or minutes later if the holder was killed from outside and closing
    # connections still keep the namespace. Ours only: the index may have a new owner by now.
    (wait_for 2 link_gone 2>/dev/null) || ip link del "$LINK"
  fi
  for root in $(cgroup_roots); do
    [ -d "$root/$CGROUP" ] || continue
    find "$root/$CGROUP" -depth -type d | while read -r d; do wait_for 5 rmdir_if_there "$d" || true; done
  done
  ! grep -q " $RUN/" /proc/mounts || die "something is still mounted under $RUN, not removing it: $(grep " $RUN/" /proc/mounts | head -3)"
  rm -rf "$RUN"
}
holder_gone() { ! holder; }
link_gone() { [ "$(link_owner "$LINK")" != "$RUN" ]; }
rmdir_if_there() { [ ! -d "$1" ] || rmdir "$1"; }
