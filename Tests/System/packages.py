"""Two Debian packages of this tree for a container: one as it is, and one of an earlier version.

They are built with `make deb` in an overlay over the tree, at its own path, so that what `make test` has built already
is used and nothing is left behind. The programs are debug builds: a release build takes ten times as long. Their Swift
runtime is linked statically as in a release, so the package depends on the same libraries.
"""

import functools
import pathlib
import subprocess
import tempfile

from installed import ROOT

EARLIER_VERSION = "0.0.9"

BUILD = r"""
set -eu
repository=$1 room=$2 out=$3 earlier=$4
mount -t tmpfs tmpfs "$room"
mkdir "$room/upper" "$room/work"
mount -t overlay -o "lowerdir=$repository,upperdir=$room/upper,workdir=$room/work" overlay "$repository"
cd "$repository"
# Quick rather than small.
export DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1

build() {
    swift build --product scaem-token --static-swift-stdlib
    # What Foundation's archives need: compiled for a dynamic Foundation, our objects do not say it themselves.
    swift build --product scaem-tokend --static-swift-stdlib -Xlinker -lCoreFoundation -Xlinker -l_FoundationCShims \
        -Xlinker -l_FoundationCollections -Xlinker -l_FoundationICU
    make deb binaries="$(swift build --show-bin-path)"
    cp .build-deb/*.deb "$out/$1.deb"
}

build later
sed -i "s/\"[0-9.]*\"/\"$earlier\"/" Sources/TokenRPC/Version.swift
sed -i "1s/([^)]*)/($earlier-1)/" debian/changelog
build earlier
"""


class Packages:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="scaemtest-deb-")
        folder = pathlib.Path(self.folder.name)
        (folder / "room").mkdir()
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", BUILD, "build", ROOT, folder / "room", folder,
             EARLIER_VERSION],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
        )  # fmt: skip
        self.status, self.log = done.returncode, done.stdout
        self.earlier, self.later = folder / "earlier.deb", folder / "later.deb"


# Also a failure is not tried again for each test.
built = functools.cache(Packages)


def packages():
    assert built().status == 0, built().log
    return built()


def field(package, name):
    """A field of a package's control file."""
    return subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, text=True, check=True).stdout.strip()
