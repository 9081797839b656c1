#!/usr/bin/env python3
"""Makes a container image without Docker: files of this machine and the shared libraries they need, no base image.

image.py OUT.tar NAME [--file SRC:DST]... [--bin COMMAND]... [--glob PATTERN]... [--link PATH:TARGET]...
         [--scratch] [--busybox] [--gzip] [--user UID] [--entrypoint "CMD ARG..."] [--label KEY=VALUE]...

The result is one archive that is both an OCI image layout and what `docker load` reads, with one layer. The same input gives the same
bytes, and so the same digests, which are printed.
"""
import argparse
import glob
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image."
EMPTY_DIRS = ("/etc", "/run", "/var/run", "/var/lib/istio/data", "/etc/istio/proxy")
PASSWD = """root:x:0:0:root:/root:/bin/sh
istio-proxy:x:1337:1337::/:/bin/sh
nobody:x:65534:65534::/:/bin/false
nonroot:x:65532:65532::/:/bin/false
"""
GROUP = "root:x:0:\nistio-proxy:x:1337:\nnonroot:x:65532:\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("name")
    for repeated in ("--file", "--bin", "--glob", "--link", "--label"):
        parser.add_argument(repeated, action="append", default=[])
    parser.add_argument("--scratch", action="store_true", help="no users and folders but /tmp")
    parser.add_argument("--gzip", action="store_true", help="smaller to pull, slower to make")
    parser.add_argument("--busybox", action="store_true", help="/bin/sh and the usual small tools")
    parser.add_argument("--user", help="numeric, so that runAsNonRoot can be checked")
    parser.add_argument("--entrypoint")
    return parser.parse_args()


def with_libraries(path):
    """Yields (destination, source) for every shared library that the file needs."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    if "not found" in listed:
        sys.exit(f"image.py: {path} needs libraries that are not here:\n{listed}")
    for library in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
        yield library, library


def wanted_files(args):
    """Destination -> source, libraries included."""
    files = {}
    for pair in args.file:
        source, destination = pair.split(":")
        files[destination] = source
    for command in args.bin:
        source = shutil.which(command) or sys.exit(f"image.py: no command {command}")
        files[source] = os.path.realpath(source)
    for pattern in args.glob:
        files.update((source, source) for source in glob.glob(pattern))
    if args.busybox:
        files["/bin/busybox"] = shutil.which("busybox") or sys.exit("image.py: no busybox")
    for source in list(files.values()):
        files.update(with_libraries(source))
    return files


class Layer:
    """A tar in memory whose folders are made as needed; owner root, time zero."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w")
        self.paths = set()

    def entry(self, path, kind, mode, data=b"", target=""):
        if path in self.paths:
            return
        self.paths.add(path)
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
        self.tar.addfile(info, io.BytesIO(data))

    def folder(self, path):
        if path not in ("", "/"):
            self.folder(os.path.dirname(path))
            self.entry(path, tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755)

    def file(self, path, data, mode=0o755):
        self.folder(os.path.dirname(path))
        self.entry(path, tarfile.REGTYPE, mode, data)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entry(path, tarfile.SYMTYPE, 0o777, target=target)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def read(path):
    with open(path, "rb") as source:
        return source.read()


def make_layer(args):
    layer = Layer()
    layer.folder("/tmp")
    if not args.scratch:
        for folder in EMPTY_DIRS:
            layer.folder(folder)
        layer.file("/etc/passwd", PASSWD.encode(), 0o644)
        layer.file("/etc/group", GROUP.encode(), 0o644)
    for destination, source in sorted(wanted_files(args).items()):
        layer.file(destination, read(source))
    for pair in args.link:
        layer.link(*pair.split(":"))
    if args.busybox:
        applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            layer.link("/bin/" + applet, "busybox")
    return layer.bytes()


def to_json(value):
    return json.dumps(value, sort_keys=True).encode()


class Archive:
    """Blobs by their digest, and what leads to them."""

    def __init__(self, path):
        self.tar = tarfile.open(path, "w")

    def add(self, name, data):
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        self.tar.addfile(info, io.BytesIO(data))

    def blob(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        self.add("blobs/sha256/" + digest, data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}


def runtime_config(args):
    runtime = {"Env": ["PATH=" + PATH]}
    if args.entrypoint:
        runtime["Entrypoint"] = args.entrypoint.split()
    if args.user:
        runtime["User"] = args.user
    if args.label:
        runtime["Labels"] = dict(label.split("=", 1) for label in args.label)
    return runtime


def main():
    args = arguments()
    layer = make_layer(args)
    machine = {"architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux"}
    # Named by what is in it before compression, so that the image's id does not hang on the version of zlib.
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    packed = gzip.compress(layer, 9, mtime=0) if args.gzip else layer

    archive = Archive(args.out)
    layer_at = archive.blob(OCI + "layer.v1.tar" + ("+gzip" if args.gzip else ""), packed)
    config_at = archive.blob(OCI + "config.v1+json", to_json(
        machine | {"config": runtime_config(args), "rootfs": {"type": "layers", "diff_ids": [diff_id]}}))
    manifest_at = archive.blob(OCI + "manifest.v1+json", to_json(
        {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config_at, "layers": [layer_at]}))
    named = {"io.containerd.image.name": args.name, "org.opencontainers.image.ref.name": args.name.rpartition(":")[2]}
    archive.add("index.json", to_json({
        "schemaVersion": 2, "mediaType": OCI + "index.v1+json",
        "manifests": [manifest_at | {"platform": machine, "annotations": named}]}))
    archive.add("oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
    # For `docker load` and tools of its age.
    path = {at["digest"]: at["digest"].replace("sha256:", "blobs/sha256/") for at in (config_at, layer_at)}
    archive.add("manifest.json", to_json(
        [{"Config": path[config_at["digest"]], "RepoTags": [args.name], "Layers": [path[layer_at["digest"]]]}]))
    archive.tar.close()
    print(f"{args.name} {manifest_at['digest']} ({len(layer) / 1e6:.1f} MB, {len(packed) / 1e6:.1f} MB to pull)")


if __name__ == "__main__":
    main()
