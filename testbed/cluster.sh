#!/usr/bin/env bash
# A real one-node Kubernetes with a real Istio on this machine, from package registries alone. See README.md.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=SCRIPTDIR/versions.env
. "$HERE/versions.env"
# shellcheck source=SCRIPTDIR/lib/common.sh
. "$HERE/lib/common.sh"
# shellcheck source=SCRIPTDIR/lib/space.sh
. "$HERE/lib/space.sh"
# shellcheck source=SCRIPTDIR/lib/build.sh
. "$HERE/lib/build.sh"
# shellcheck source=SCRIPTDIR/lib/node.sh
. "$HERE/lib/node.sh"
# shellcheck source=SCRIPTDIR/lib/product.sh
. "$HERE/lib/product.sh"

usage() {
  cat <<U
usage: cluster.sh COMMAND
  build [--only apiserver|browser|conformance|envoy|helm|prometheus|shellcheck]
                                            fetch and build what is missing into the cache (minutes the first time)
  up | down                                 start the cluster, or remove every trace of it; both may be repeated
  status                                    what runs; exit code 0 only if all of it does
  env                                       shell lines that set KUBECONFIG and PATH: eval "\$(cluster.sh env)"
  image [--profile P | --binary PATH]       build the product (default profile dev) and import its image
  bookinfo [up|down]                        the example app, in namespace default, with sidecars
  prometheus [up|down]                      a Prometheus in istio-system that scrapes the example app
  kill-container NAMESPACE POD-PREFIX NAME [SIGNAL]
                                            SIGKILL (or another signal, such as SIGSTOP) to one container
  apiserver stop|start|compact              the API server dies, comes again, finds that etcd has forgotten old versions
variables
  TESTBED         where the cluster lives: run/ below it   (now $TESTBED)
  TESTBED_CACHE   what build makes: bin/ img/ charts/      (now $TESTBED_CACHE; default: TESTBED)
  TESTBED_INDEX   0..9, which link and subnets to use      (default: the first free one)
U
}

up() {
  check_run_host
  lock "$TESTBED/cluster.lock" "cluster command for $TESTBED"
  if running; then say "already up: KUBECONFIG=$KUBECONFIG"; return; fi
  (build 9>&-)
  check_complete_cache
  if [ -e "$RUN" ]; then say "cleaning up what an interrupted run left"; close_space; fi
  trap 'failed' EXIT
  open_space
  start_node
  start_istio
  touch "$RUN/complete"
  trap - EXIT
  say "up, index $INDEX: export KUBECONFIG=$KUBECONFIG"
}
failed() { say "not up. Logs: $LOG. The next up or down cleans this up."; }
check_complete_cache() { local f; for f in kubectl kubelet kube-proxy coredns helm envoy; do [ -x "$BIN/$f" ] || die "$BIN/$f is missing: $0 build"; done; }

down() {
  need_root
  [ -e "$TESTBED" ] || { say "nothing to take down"; return; }
  lock "$TESTBED/cluster.lock" "cluster command for $TESTBED"
  if [ -e "$RUN" ]; then close_space; say "down"; else say "nothing to take down"; fi
}

report() { printf '%-24s %s\n' "$1" "$2"; }
status() {
  need_root
  local h pids c pid ok=0 unready
  if ! h=$(holder); then
    say "not up$([ ! -e "$RUN" ] || echo ', but something is left: run down or up')"
    return 1
  fi
  addresses "$(cat "$RUN/index" 2>/dev/null || echo 0)"
  report cluster "index $INDEX, holder pid $h, node $NODE_IP, this host is $HOST_IP, KUBECONFIG=$KUBECONFIG"
  pids=$(host_pids)
  for c in "${COMPONENTS[@]}"; do
    if pid=$(component_pid "$c" "$pids"); then report "$c" "pid $pid"; else report "$c" "NOT RUNNING, see $LOG/$c.log"; ok=1; fi
  done
  if kubectl wait --for=condition=Ready node/node1 --timeout=1s >/dev/null 2>&1; then report node ready; else report node 'NOT READY'; ok=1; fi
  if istiod_ready; then report istiod ready; else report istiod 'NOT READY'; ok=1; fi
  if ctr images ls -q 2>/dev/null | grep -qx "$PRODUCT_IMAGE"; then report 'product image' "$PRODUCT_IMAGE"; else report 'product image' 'not imported (cluster.sh image)'; fi
  unready=$(kubectl get pods -A --no-headers 2>/dev/null | awk '{split($3, r, "/"); if (r[1] != r[2] && $4 != "Completed") print $1 "/" $2 " " $3 " " $4}') || unready=unknown
  report 'pods not ready' "${unready:-none}"
  [ -z "$unready" ] || ok=1
  [ -e "$RUN/complete" ] || { report 'half up' 'up was interrupted: run it again'; ok=1; }
  return $ok
}
istiod_ready() { [ "$(kubectl get deploy istiod -n istio-system -o 'jsonpath={.status.readyReplicas}' 2>/dev/null)" = 1 ]; }

# shellcheck disable=SC2016  # $PATH is for the shell that reads these lines
env_lines() {
  printf 'export KUBECONFIG=%q KUBECACHEDIR=%q\nexport TESTBED=%q TESTBED_CACHE=%q\nexport PATH=%q:$PATH\n' \
    "$KUBECONFIG" "$KUBECACHEDIR" "$TESTBED" "$TESTBED_CACHE" "$BIN"
}

command=${1:-help}; [ $# = 0 ] || shift
case $command in
  build)
    case "$*" in
      '') build ;;
      '--only apiserver' | '--only browser' | '--only conformance' | '--only envoy' | '--only helm' | '--only prometheus' | '--only shellcheck') build "$2" ;;
      *) usage >&2; exit 2 ;;
    esac ;;
  up) up ;;
  down) down ;;
  status) status ;;
  env) env_lines ;;
  image) product_image "$@" ;;
  bookinfo) bookinfo "$@" ;;
  prometheus) prometheus "$@" ;;
  kill-container) kill_container "$@" ;;
  apiserver) apiserver "$@" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
