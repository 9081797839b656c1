# One Kubernetes node: etcd, control plane, containerd, kubelet, kube-proxy, CoreDNS, all inside the space.
# shellcheck shell=bash

COMPONENTS=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy coredns)
export KUBECONFIG=$RUN/admin.kubeconfig
# Clients cache what an address serves, in the home folder, and the next cluster at this address would be taken for this one.
export KUBECACHEDIR=$RUN/clients/kube HELM_CACHE_HOME=$RUN/clients/helm HELM_CONFIG_HOME=$RUN/clients/helm HELM_DATA_HOME=$RUN/clients/helm
kubectl() { "$BIN/kubectl" "$@"; }
ctr()     { inside ctr --address "$SOCKET" --namespace k8s.io "$@"; }
import_image() { ctr images import "$1" >/dev/null; }

write_pki() {
  local pki=$RUN/pki; mkdir -p "$pki"
  {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -subj /CN=testbed-ca -days 30
    openssl req -newkey rsa:2048 -nodes -keyout "$pki/api.key" -out "$pki/api.csr" -subj /CN=kube-apiserver
    echo "subjectAltName=IP:127.0.0.1,IP:$NODE_IP,IP:$SVC_NET.0.1,DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default" >"$pki/ext"
    openssl x509 -req -in "$pki/api.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -out "$pki/api.crt" -days 30 -extfile "$pki/ext"
    openssl genrsa -out "$pki/sa.key" 2048
  } >"$LOG/pki.log" 2>&1
  local token; token=$(openssl rand -hex 16)
  (umask 077; echo "$token,admin,admin,\"system:masters\"" >"$pki/tokens.csv")
  (umask 077; cat >"$KUBECONFIG") <<K
apiVersion: v1
kind: Config
clusters: [{name: $LINK, cluster: {server: "$API", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: $LINK, context: {cluster: $LINK, user: admin}}]
current-context: $LINK
K
}

start_control_plane() {
  local pki=$RUN/pki
  # A throw-away cluster: nothing is synced to disk.
  start etcd "$BIN/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync --quota-backend-bytes 4294967296 \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
  start_apiserver
  # These two retry until the apiserver answers.
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$KUBECONFIG" --secure-port=0 --leader-elect=false \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials=false
  start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$KUBECONFIG" --leader-elect=false --secure-port=0
}

start_apiserver() {
  local pki=$RUN/pki
  # preferred address: `kubectl exec` and `logs` cannot resolve the node's name
  start kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP" --kubelet-preferred-address-types=InternalIP \
    --tls-cert-file="$pki/api.crt" --tls-private-key-file="$pki/api.key" --client-ca-file="$pki/ca.crt" --cert-dir="$pki" \
    --token-auth-file="$pki/tokens.csv" --authorization-mode=RBAC --allow-privileged=true \
    --service-account-key-file="$pki/sa.key" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range="$SVC_NET.0.0/16" \
    --max-requests-inflight=2000 --max-mutating-requests-inflight=1000
}
apiserver_pid() { component_pid kube-apiserver "$(host_pids)"; }
apiserver_is_gone() { ! apiserver_pid >/dev/null; }

# apiserver stop|start|compact: it dies as by a kill -9, and comes again with the same data; etcd forgets every version but the present one of
# each object, as it does by itself after a while: who watches from an earlier one must list anew.
apiserver() {
  need_root
  holder >/dev/null || die "the cluster is not up: $0 up"
  local pid
  case ${1:-} in
    stop)
      pid=$(apiserver_pid) || die "the API server does not run"
      kill -KILL "$pid"
      wait_for 30 apiserver_is_gone || die "process $pid does not end" ;;
    start)
      ! apiserver_pid >/dev/null || die "the API server runs"
      addresses "$(cat "$RUN/index")"
      start_apiserver
      wait_for 90 kubectl get --raw /readyz || die "the apiserver does not start: $LOG/kube-apiserver.log" ;;
    compact)
      inside python3 - <<'P'
import json, urllib.request
def ask(what, body):
    request = urllib.request.Request("http://127.0.0.1:2379/v3/kv/" + what, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))
# A key in Base64, as its gateway for JSON wants it.
ask("compaction", {"revision": ask("range", {"key": "YQ=="})["header"]["revision"], "physical": True})
P
      ;;
    *) die "apiserver: stop, start or compact, not ${1:-nothing}" ;;
  esac
  say "apiserver: $1 done"
}

start_containerd() {
  mkdir -p "$RUN/ctr/cni"
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc cannot lower it, and says only "can't get final child's PID from pipe: EOF"
  cat >"$RUN/ctr/config.toml" <<C
version = 2
root = "$RUN/ctr/root"
state = "$RUN/ctr/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.internal.v1.opt"]
  path = "$RUN/ctr/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/testbed/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/ctr/cni"
C
  cat >"$RUN/ctr/cni/10-testbed.conflist" <<C
{"cniVersion": "1.0.0", "name": "testbed", "plugins": [
  {"type": "bridge", "bridge": "node", "isGateway": false, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$RUN/ctr/ipam", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "$POD_NET.0.0/16", "rangeStart": "$POD_NET.3.1", "rangeEnd": "$POD_NET.6.254", "gateway": "$NODE_IP"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
  start containerd containerd -c "$RUN/ctr/config.toml"
}

import_images() {
  wait_for 30 ctr version
  local f; for f in "$IMG"/*.tar; do import_image "$f"; done
}

start_kubelet() {
  mkdir -p "$RUN/kubelet"
  : >"$RUN/resolv.conf"   # pods resolve through CoreDNS only
  # failCgroupV1, cgroupfs: works on both versions and needs no systemd. The rest lets a small machine take many small pods.
  cat >"$RUN/kubelet/config.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$SOCKET
podLogsDir: $RUN/log/pods
volumePluginDir: $RUN/kubelet/plugins
resolvConf: $RUN/resolv.conf
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
maxPods: 250
syncFrequency: 10s
containerLogMaxSize: 200Mi
C
  start kubelet "$BIN/kubelet" --config="$RUN/kubelet/config.yaml" --kubeconfig="$KUBECONFIG" --hostname-override=node1 \
    --node-ip="$NODE_IP" --root-dir="$RUN/kubelet/root" --cert-dir="$RUN/kubelet/pki"
  # conntrack-max-per-core=0: leave the kernel's limits alone, they may be read-only
  start kube-proxy "$BIN/kube-proxy" --kubeconfig="$KUBECONFIG" --hostname-override=node1 --proxy-mode=iptables \
    --cluster-cidr="$POD_NET.0.0/16" --conntrack-max-per-core=0
}

# CoreDNS is a plain process behind the usual Service address: no image, no Deployment to wait for.
# outside.testbed is this machine: a name that is not in the mesh. Every other name does not exist.
start_dns() {
  cat >"$RUN/Corefile" <<C
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
  bind $NODE_IP
  kubernetes {
    endpoint $API
    kubeconfig $KUBECONFIG $LINK
    pods insecure
    ttl 5
  }
  cache 5
  errors
}
testbed:53 {
  bind $NODE_IP
  hosts {
    $HOST_IP outside.testbed
  }
}
.:53 {
  bind $NODE_IP
  template ANY ANY {
    rcode NXDOMAIN
  }
}
C
  start coredns "$BIN/coredns" -conf "$RUN/Corefile" -quiet
  kubectl apply -f - >/dev/null <<D
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: $DNS_IP, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-testbed, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [$NODE_IP], conditions: {ready: true}}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
D
}

start_node() {
  write_pki
  start_containerd
  start_control_plane
  import_images &                     # meanwhile the apiserver starts
  local images=$!
  wait_for 90 kubectl get --raw /readyz || die "the apiserver does not start: $LOG/kube-apiserver.log"
  wait "$images" || die "cannot import the images: $LOG/containerd.log"
  start_kubelet
  start_dns
  wait_for 90 kubectl wait --for=condition=Ready node/node1 --timeout=1s || die "the node does not get ready: $LOG/kubelet.log"
}

start_istio() {
  # before istiod, which watches what is there when it starts; server-side, because they are too long for kubectl's annotation
  kubectl apply --server-side -f "$GATEWAY_API_CRDS" >"$LOG/gateway-api.log"
  kubectl create namespace istio-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  "$BIN/helm" upgrade --install istio-base "$CHARTS/base" -n istio-system --set defaultRevision=default >"$LOG/helm.log" 2>&1
  "$BIN/helm" upgrade --install istiod "$CHARTS/istio-control/istio-discovery" -n istio-system -f "$HERE/config/istiod.yaml" >>"$LOG/helm.log" 2>&1
  kubectl -n istio-system rollout status deploy/istiod --timeout=120s >/dev/null || die "istiod does not get ready: kubectl -n istio-system logs deploy/istiod"
}

# component_pid NAME PIDS: the host's pid of a recorded component that still runs (PIDS is the output of host_pids).
component_pid() {
  local inner; inner=$(cat "$RUN/pids/$1" 2>/dev/null) || return 1
  # the kernel cuts names at 15 characters
  awk -v i="$inner" -v n="${1:0:15}" '$1 == i && $3 == n {print $2; f = 1} END {exit !f}' <<<"$2"
}

running() { # all that `up` starts is there and was completed once
  [ -e "$RUN/complete" ] && holder >/dev/null || return 1
  local pids c; pids=$(host_pids)
  for c in "${COMPONENTS[@]}"; do component_pid "$c" "$pids" >/dev/null || return 1; done
}
