# The product's image, the example app, and a hammer for tests.
# shellcheck shell=bash

PRODUCT_IMAGE=docker.io/testbed/lazyload:1
# The same image by another name, for who wants to see an installation change its image.
PRODUCT_IMAGE_ALIAS=docker.io/testbed/lazyload:2

need_up() { need_root; running || die "the cluster is not up: $0 up"; }

# image [--profile PROFILE | --binary PATH]: builds the product and imports its image.
product_image() {
  local profile=dev binary='' target
  while [ $# -gt 0 ]; do
    case $1 in
      --profile) profile=${2:?--profile needs a name}; shift 2 ;;
      --binary)  binary=${2:?--binary needs a path}; shift 2 ;;
      *) die "image: unknown option $1" ;;
    esac
  done
  need_up
  if [ -z "$binary" ]; then
    command -v cargo >/dev/null || die "cargo is not on PATH: install Rust, or give --binary PATH"
    (cd "$HERE/.." && nice -n 5 cargo build --profile "$profile" --bin lazyload) || die "cargo build failed"
    # cargo knows best where its output goes (CARGO_TARGET_DIR, .cargo/config.toml); `dev` alone has a folder of another name
    target=$(cd "$HERE/.." && cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
    [ "$profile" = dev ] && binary=$target/debug/lazyload || binary=$target/$profile/lazyload
  fi
  [ -x "$binary" ] || die "no executable $binary"
  "$HERE/../image/build.sh" --name "$PRODUCT_IMAGE" --out "$RUN/image" --binary "$binary" --fast >&2
  import_image "$RUN/image/lazyload.tar"
  ctr images tag --force "$PRODUCT_IMAGE" "$PRODUCT_IMAGE_ALIAS" >/dev/null
  say "imported $PRODUCT_IMAGE, also as ${PRODUCT_IMAGE_ALIAS##*/}; use imagePullPolicy IfNotPresent or Never, there is no registry"
}

bookinfo_gone() { ! kubectl get pods -n default --no-headers 2>/dev/null | grep -qE '^(details|ratings|reviews|productpage)-'; }

bookinfo_objects() { kubectl kustomize --load-restrictor LoadRestrictionsNone "$HERE/bookinfo"; }

bookinfo() {
  need_up
  case ${1:-up} in
    up)
      import_image "$IMG/app.tar"
      kubectl label namespace default istio-injection=enabled --overwrite >/dev/null
      bookinfo_objects | kubectl apply -n default -f - >/dev/null
      wait_for 120 bookinfo_ready || { kubectl get pods -n default >&2; die "the example app does not get ready"; }
      say "bookinfo: six pods are 2/2 ready" ;;
    down)
      bookinfo_objects | kubectl delete -n default -f - --ignore-not-found --wait=false >/dev/null
      kubectl label namespace default istio-injection- >/dev/null
      wait_for 90 bookinfo_gone || die "the example app does not go away"
      say "bookinfo: gone" ;;
    *) die "bookinfo: up or down, not $1" ;;
  esac
}
bookinfo_ready() {
  local pods; pods=$(kubectl get pods -n default --no-headers | grep -E '^(details|ratings|reviews|productpage)-v')
  [ "$(awk '$2 == "2/2" && $3 == "Running"' <<<"$pods" | wc -l)" = 6 ] && [ "$(wc -l <<<"$pods")" = 6 ]
}

# A Prometheus that scrapes the example app every second: prometheus.istio-system:9090, as in the seed.
prometheus() {
  need_up
  case ${1:-up} in
    up)
      (build prometheus)
      python3 "$HERE/../image/image.py" "$RUN/prometheus.tar" docker.io/testbed/prometheus:1 --file "$BIN/prometheus:/prometheus" \
        --user 65532 --entrypoint /prometheus >&2
      import_image "$RUN/prometheus.tar"
      kubectl apply -f "$HERE/prometheus.yaml" >/dev/null
      kubectl rollout status -n istio-system deployment/prometheus --timeout=120s >/dev/null || die "Prometheus does not get ready"
      say "prometheus: ready" ;;
    down)
      kubectl delete -f "$HERE/prometheus.yaml" --ignore-not-found >/dev/null || die "Prometheus does not go away"
      say "prometheus: gone" ;;
    *) die "prometheus: up or down, not $1" ;;
  esac
}

# kill-container NAMESPACE POD-PREFIX CONTAINER [SIGNAL]: SIGKILL, as the OOM killer would, and the kubelet restarts it; SIGSTOP and SIGCONT for a
# process that hangs.
kill_container() {
  [ $# = 3 ] || [ $# = 4 ] || die "usage: kill-container NAMESPACE POD-PREFIX CONTAINER [SIGNAL]"
  need_up
  local found
  found=$(kubectl get pods -n "$1" -o json | python3 -c '
import json, sys
prefix, container = sys.argv[1:]
for pod in json.load(sys.stdin)["items"]:
    status = pod["status"]
    for c in status.get("containerStatuses", []) + status.get("initContainerStatuses", []):
        if pod["metadata"]["name"].startswith(prefix) and c["name"] == container and "running" in c["state"]:
            print(pod["metadata"]["name"], c["containerID"].split("//")[1])' "$2" "$3")
  [ -n "$found" ] || die "no running container $3 in a pod $2* of namespace $1"
  [ "$(wc -l <<<"$found")" = 1 ] || die "more than one pod matches: $(cut -d' ' -f1 <<<"$found" | tr '\n' ' ')"
  ctr tasks kill --signal "${4:-SIGKILL}" "${found#* }"
  say "${4:-SIGKILL} to $3 of ${found% *}"
}
