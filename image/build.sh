#!/usr/bin/env bash
# Makes the product's image without Docker: one static binary and an empty /tmp, from scratch, for a user that is not root.
#   image/build.sh [--name REPOSITORY:TAG] [--out FOLDER] [--profile PROFILE | --binary PATH] [--fast]
# Writes FOLDER/lazyload.tar, an OCI layout that `docker load` reads too, and FOLDER/lazyload.cdx.json, what it was made of (CycloneDX).
# --fast: for a cluster on this machine, not compressed and without the list.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CYCLONEDX=0.5.9 # cargo-cyclonedx

die() { echo "image/build.sh: $*" >&2; exit 1; }
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
name=docker.io/slimeio/slime-lazyload:v$version out='' profile=release binary='' fast=0
while [ $# -gt 0 ]; do
  case $1 in
    --name)    name=${2:?--name needs REPOSITORY:TAG}; shift 2 ;;
    --out)     out=${2:?--out needs a folder}; shift 2 ;;
    --profile) profile=${2:?--profile needs a name}; shift 2 ;;
    --binary)  binary=${2:?--binary needs a path}; shift 2 ;;
    --fast)    fast=1; shift ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
[[ ${name##*/} = *:* ]] || die "--name $name has no tag: REPOSITORY:TAG"
command -v python3 >/dev/null || die "python3 is not on PATH"

if [ -z "$binary" ] || [ "$fast" = 0 ] || [ -z "$out" ]; then
  command -v cargo >/dev/null || die "cargo is not on PATH: install Rust"
  # cargo knows best where its output goes (CARGO_TARGET_DIR, .cargo/config.toml)
  target=$(cd "$root" && cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
  out=${out:-$target/image}
fi
host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p' || true)

# With --target the flags are not those of build scripts and macros, which cannot be static. Paths of this machine stay out of the binary.
if [ -z "$binary" ]; then
  home=${CARGO_HOME:-$HOME/.cargo}
  RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$root=. --remap-path-prefix=$home=cargo" \
    cargo build --locked --manifest-path "$root/Cargo.toml" --package lazyload --profile "$profile" --target "$host"
  [ "$profile" = dev ] && binary=$target/$host/debug/lazyload || binary=$target/$host/$profile/lazyload
  ! ldd "$binary" 2>/dev/null | grep -q '=>' || die "$binary is not static"
fi
[ -x "$binary" ] || die "no executable $binary"

# The names of crates, their versions, licences and checksums; from Cargo.lock, so that it says what is in the binary.
write_sbom() {
  local tool=$target/tools/bin/cargo-cyclonedx
  [ -x "$tool" ] || cargo install --quiet --locked --root "$target/tools" --target-dir "$target/tools/target" "cargo-cyclonedx@$CYCLONEDX"
  # It writes beside each manifest of the workspace, for each the same name.
  SOURCE_DATE_EPOCH=0 "$tool" cyclonedx --quiet --manifest-path "$root/Cargo.toml" --format json --target "$host" \
    --override-filename lazyload-image-sbom
  mv "$root/crates/lazyload/lazyload-image-sbom.json" "$out/lazyload.cdx.json"
  find "$root/crates" "$root/tests" -maxdepth 2 -name lazyload-image-sbom.json -delete
}

mkdir -p "$out"
options=(--scratch --user 65532:65532)
[ "$fast" = 1 ] || options+=(--gzip)
python3 "$root/image/image.py" "$out/lazyload.tar" "$name" "${options[@]}" --file "$binary:/lazyload" \
  --entrypoint /lazyload --label org.opencontainers.image.title=lazyload --label "org.opencontainers.image.version=$version" \
  --label org.opencontainers.image.licenses=Apache-2.0
[ "$fast" = 1 ] || write_sbom
