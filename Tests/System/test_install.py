"""`make install` into /usr/local, and what the README says after it, in a booted system."""

import pathlib
import re
import subprocess

import pytest

from boot import boot
from installed import ROOT, binaries

SCRIPT = """#!/bin/sh
set -eu
. /test/README
scaem-token ping >/dev/null
echo "program: $(systemctl show -P ExecStart scaem-tokend.service | sed -n 's/.*path=\\([^ ;]*\\).*/\\1/p')"
useradd --system --groups scaem anna
echo "state: $(systemctl is-active scaem-tokend.service) $(stat -c '%U %a' /var/lib/scaem-tokend)"
echo "caller: $(setpriv --reuid anna --regid anna --init-groups scaem-token whoami)"
setpriv --reuid anna --regid anna --init-groups scaem-token obtain P --output /tmp/token >/dev/null
echo "token: $(scaem-token introspect /tmp/token)"
"""


def readme_commands():
    """What follows `make install` in the README, as root runs it."""
    block = re.search(r"^## Install$.*?^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.M | re.S)[1]
    lines = [re.sub(r"\s+#.*", "", line).removeprefix("sudo ") for line in block.splitlines()]
    return "\n".join(lines[lines.index("make install") + 1 :]) + "\n"


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    """/usr/local is its group's on some machines, and what is in it."""
    theirs = tmp_path / "usr/local/bin"
    theirs.mkdir(parents=True)
    theirs.chmod(0o2775)
    subprocess.run(["make", "-s", "install", f"DESTDIR={tmp_path}", f"binaries={binaries()}"], cwd=ROOT, check=True)
    assert theirs.stat().st_mode & 0o7777 == 0o2775
    assert (theirs.parent / "share/man/man8").stat().st_mode & 0o7777 == 0o755


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    tree = tmp_path_factory.mktemp("installed")
    subprocess.run(["make", "-s", "install", f"DESTDIR={tree}", f"binaries={binaries()}"], cwd=ROOT, check=True)
    files = {"/" + str(path.relative_to(tree)): path for path in sorted(tree.rglob("*")) if path.is_file()}
    programs = {name: files.pop(name) for name in list(files) if pathlib.Path(name).parent.name == "bin"}
    return boot(SCRIPT, files={**files, "/test/README": readme_commands()}, programs=programs)


def test_the_readme_s_commands_give_a_working_service(booted):
    assert booted.status == 0, booted.report()
    said = dict(line.split(": ", 1) for line in booted.stdout.splitlines() if ": " in line)
    assert said["program"] == "/usr/local/bin/scaem-tokend", booted.report()
    assert said["state"] == "active scaem-tokend 700", booted.report()
    assert '"principal":"anna"' in said["caller"], booted.report()
    assert '"active":true' in said["token"] and '"sub":"anna"' in said["token"], booted.report()
