#!/usr/bin/env bash
# Installs lazyload into the cluster that kubectl talks to: CRDs, the operator, and a SlimeBoot, all in the namespace mesh-operator.
#   easy_install_lazyload.sh [TAG_OR_COMMIT]
# Without an argument it takes the files of the checkout that it is in; outside a checkout, those of the latest tag.
# Environment:
#   LAZYLOAD_IMAGE=REPOSITORY:TAG         the image of everything, instead of the one that the files name
#   LAZYLOAD_SLIMEBOOT=FILE               your SlimeBoot instead of slimeboot_cluster_accesslog.yaml; none: only the operator
#   LAZYLOAD_REPOSITORY=OWNER/REPOSITORY  where tags and commits are (slime-io/lazyload)
set -euo pipefail

say() { echo "lazyload: $*" >&2; }
die() { say "$*"; exit 1; }

namespace=mesh-operator
repository=${LAZYLOAD_REPOSITORY:-slime-io/lazyload}
# `bash -c "$(curl …)" TAG`, as the documentation has it, gives the first argument as $0; in a file, $0 is the file.
script=${BASH_SOURCE[0]:-}
version=${1:-}
if [ -z "$script" ] && [ -z "$version" ]; then
  case ${0##*/} in *bash | sh | dash) ;; *) version=$0 ;; esac
fi

files=''
if [ -n "$version" ]; then
  say "using $version"
elif [ -n "$script" ] && [ -f "$(dirname "$script")/../../../deploy/install.yaml" ]; then
  files=$(cd "$(dirname "$script")/../../.." && pwd)
  say "using the files in $files"
else
  version=$(curl -fsSL "https://api.github.com/repos/$repository/tags" | grep '"name"' | cut -d\" -f4 | head -1) ||
    die "failed to read the tags of $repository: give a tag or commit as an argument, or run the script from a checkout"
  [ -n "$version" ] || die "$repository has no tag: give a commit as an argument"
  say "using the latest tag, $version"
fi

# fetch PATH: a file of the repository
fetch() {
  if [ -n "$files" ]; then cat "$files/$1"; else curl -fsSL "https://raw.githubusercontent.com/$repository/$version/$1"; fi
}

command -v kubectl >/dev/null || die "kubectl is not on PATH"
image=${LAZYLOAD_IMAGE:-}
[ -z "$image" ] || [[ ${image##*/} = *:* ]] || die "LAZYLOAD_IMAGE=$image has no tag: REPOSITORY:TAG"

install=$(fetch deploy/install.yaml) || die "failed to get deploy/install.yaml of $version"
# shellcheck disable=SC2001  # what is replaced is a whole line
[ -z "$image" ] || install=$(sed "s|^\( *\)image: .*|\1image: $image|" <<<"$install")
slimeboot=''
case ${LAZYLOAD_SLIMEBOOT:-} in
  none) ;;
  '') slimeboot=$(fetch install/samples/lazyload/slimeboot_cluster_accesslog.yaml) || die "failed to get the SlimeBoot of $version" ;;
  *) slimeboot=$(cat "$LAZYLOAD_SLIMEBOOT") || die "LAZYLOAD_SLIMEBOOT cannot be read" ;;
esac
if [ -n "$slimeboot" ] && [ -n "$image" ]; then
  of_image="{\"spec\": {\"image\": {\"repository\": \"${image%:*}\", \"tag\": \"${image##*:}\", \"pullPolicy\": \"IfNotPresent\"}}}"
  slimeboot=$(kubectl patch --local --type=merge -p "$of_image" -o yaml -f - <<<"$slimeboot") || die "the SlimeBoot cannot be read"
fi

# The namespace and CRDs are made first, and known, before what needs them.
kubectl apply --server-side --force-conflicts -f - <<<"$install"
kubectl wait --for=condition=Established --timeout=60s crd/slimeboots.config.netease.com crd/servicefences.microservice.slime.io
kubectl -n "$namespace" rollout status deployment/slime-boot --timeout=180s ||
  die "the operator does not start: kubectl -n $namespace describe pods"
[ -n "$slimeboot" ] || { say "the operator runs; now apply a SlimeBoot"; exit 0; }

applied=$(kubectl apply -o 'jsonpath={.metadata.namespace} {.metadata.name}' -f - <<<"$slimeboot")
kubectl -n "${applied% *}" wait --for=condition=Ready --timeout=300s "slimeboot/${applied#* }" || {
  kubectl -n "${applied% *}" get slimeboot "${applied#* }" -o 'jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}' >&2
  die "the SlimeBoot does not become ready: see above, and kubectl get pods -n $namespace"
}
say "installed: kubectl get pods -n $namespace"
