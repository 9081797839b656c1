#!/usr/bin/env bash
# Takes lazyload out of the cluster that kubectl talks to, whichever way it came, and leaves nothing of it: fences and their Sidecars first,
# while everything still runs, so that each proxy knows every service again; then SlimeBoots, operator, CRDs, the namespace mesh-operator.
#   easy_uninstall_lazyload.sh [TAG_OR_COMMIT]     the argument is taken for the documentation's sake: everything is found by its name
set -euo pipefail

say() { echo "lazyload: $*" >&2; }
die() { say "$*"; exit 1; }

namespace=mesh-operator
sidecars=sidecars.networking.istio.io
labelled=clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,configmaps,services,deployments
command -v kubectl >/dev/null || die "kubectl is not on PATH"
kubectl version >/dev/null || die "there is no cluster"

has() { [ -n "$(kubectl get crd "$1" --ignore-not-found -o name)" ]; }
# Sidecars of fences, and those that the controller keeps for a moment after their fence: namespace/name
our_sidecars() {
  has "$sidecars" || return 0
  kubectl get "$sidecars" -A -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.ownerReferences[*].kind} {.metadata.labels.lazyload\.slime\.io/leaving}{"\n"}{end}' |
    awk '/ ServiceFence( |$)/ || / true$/ {print $1}'
}

# With the CRD all fences go at once, and automatic ones cannot come back.
kubectl delete crd servicefences.microservice.slime.io --ignore-not-found --timeout=180s
deadline=$((SECONDS + 60))
while left=$(our_sidecars) && [ -n "$left" ] && ((SECONDS < deadline)); do sleep 1; done
for sidecar in $left; do
  say "Sidecar $sidecar was left by its controller"
  kubectl -n "${sidecar%/*}" delete "$sidecars" "${sidecar#*/}" --ignore-not-found
done

if has slimeboots.config.netease.com; then
  kubectl delete slimeboots --all --all-namespaces --timeout=180s ||
    die "a SlimeBoot does not go: its operator removes what it made and must run for that: kubectl -n $namespace get pods"
fi
kubectl -n "$namespace" delete deployment,serviceaccount slime-boot --ignore-not-found
kubectl delete clusterrolebinding,clusterrole slime-boot --ignore-not-found
kubectl delete crd slimeboots.config.netease.com --ignore-not-found --timeout=60s
kubectl delete namespace "$namespace" --ignore-not-found --timeout=180s

! has envoyfilters.networking.istio.io || labelled=envoyfilters.networking.istio.io,$sidecars,$labelled
left=$(kubectl get "$labelled" -A -l slime.io/slimeboot -o 'jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}')
[ -z "$left" ] || die "left behind:"$'\n'"$left"
say "uninstalled"
