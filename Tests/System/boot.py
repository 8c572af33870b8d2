"""A throw-away container of this machine with a real systemd as its init, booted in about a second.

    booted = boot(script, files={"/etc/x.conf": "text"}, programs={"/usr/bin/x": path})
    booted.status, booted.stdout, booted.journal, booted.checks

The script (any executable text with a `#!` line) runs as a oneshot service once the basic system is up; then the
container powers off. Its root is an overlay over this machine's own in a tmpfs, so nothing it does is left behind. All
of it runs in a mount and a pid namespace of its own: when the time is over, or the test runner dies, however it dies,
the kernel ends every process in it and unmounts everything.

A script that makes many checks prints a line for each: `ok NAME`, or `not ok NAME: REASON`. inside/checks.py does it; it
is in /test, beside what `inside` of the caller names.
"""

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
INSIDE = HERE / "inside"
# A boot takes about a second; a machine that is busy with a build gets its time.
DEFAULT_LIMIT_SECONDS = 120

# /test in the container: what the test brings and what comes out of it.
LAYOUT = r"""
set -eu
room=$1 results=$2
mount -t tmpfs -o mode=0755 tmpfs "$room"
mkdir "$room/upper" "$room/work" "$room/root"
mount -t overlay -o "lowerdir=/,upperdir=$room/upper,workdir=$room/work" overlay "$room/root"
root=$room/root
rm -f "$root/etc/machine-id" "$root/usr/sbin/policy-rc.d" "$root/var/lib/dbus/machine-id"
od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$root/etc/machine-id"
rm -rf "$root/var/log/journal" "$root/test"
mkdir -p "$root/var/log/journal" "$root/test"
# Nothing of this machine's own services and users: what runs in there is systemd, its journal and what the test brings.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/usr/lib/systemd/system/timers.target.wants
rm -rf "$root"/etc/systemd/system/scaem-* "$root/var/lib/scaem-tokend" "$root/etc/scaem-tokend"
sed -i '/^scaem/d' "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow" "$root/etc/gshadow"
cp -a "$results/files/." "$root/"
ln -sf /usr/lib/systemd/system/scaem-test.target "$root/etc/systemd/system/default.target"
shift 2
exec systemd-nspawn -q --register=no --keep-unit --private-network --capability=CAP_IPC_LOCK --tmpfs=/tmp --console=pipe \
    --bind="$results/out:/test/out" "$@" -b -D "$root"
"""

TARGET = """[Unit]
Description=The test's own target
Requires=basic.target scaem-test.service
After=basic.target
AllowIsolate=yes
"""

# The script gets no start limit and no timeout of systemd's: the runner outside has one for the whole container.
SERVICE = """[Unit]
Description=The test's script
After=basic.target
FailureAction=poweroff-force
SuccessAction=poweroff-force

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh /test/run
StandardInput=null
"""

# journalctl --sync first: what has been logged is then in the files.
RUN = """
cd /test
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/test
/test/script >/test/out/stdout 2>/test/out/stderr
echo $? >/test/out/status
journalctl --sync
journalctl -q --all --no-pager -o json >/test/out/journal
systemctl --no-legend --plain list-units >/test/out/units
sync -f /test/out
"""


class Booted:
    """What came out of a container."""

    def __init__(self, folder, console, seconds):
        def text(name):
            path = folder / name
            return path.read_text(errors="replace") if path.exists() else ""

        self.seconds = seconds
        self.console = console
        self.stdout = text("stdout")
        self.stderr = text("stderr")
        self.finished = bool(text("status").strip())
        self.status = int(text("status")) if self.finished else None
        self.journal = [json.loads(line) for line in text("journal").splitlines()]
        self.checks = {}
        for line in self.stdout.splitlines():
            found = re.fullmatch(r"(not )?ok ([A-Za-z0-9_-]+)(?:: (.*))?", line)
            if found:
                assert found[2] not in self.checks, f"two checks are called {found[2]}"
                self.checks[found[2]] = None if not found[1] else found[3] or "no reason given"

    def report(self):
        """All there is to say about a boot that went wrong."""
        tail = [f"{entry.get('_SYSTEMD_UNIT', entry.get('SYSLOG_IDENTIFIER', '?'))}: {entry.get('MESSAGE')}"
                for entry in self.journal[-60:]]  # fmt: skip
        return "\n".join(
            [f"the script ended with {self.status} after {self.seconds:.1f} s", "--- stdout", self.stdout[-4000:],
             "--- stderr", self.stderr[-4000:], "--- console", self.console[-2000:], "--- journal", *tail]
        )  # fmt: skip

    def messages(self, **fields):
        """The journal's entries with these fields, in order."""
        return [entry for entry in self.journal if all(entry.get(key) == value for key, value in fields.items())]

    def assert_check(self, name):
        """One check of the script, by its name: it has to have run and to have held."""
        assert name in self.checks, f"the check {name} did not run\n{self.report()}"
        assert self.checks[name] is None, f"{name}: {self.checks[name]}\n{self.report()}"


def boot(script, *, files=None, programs=None, arguments=(), limit=DEFAULT_LIMIT_SECONDS):
    """Boots, runs the script, powers off, and returns what came out.

    `script` is a path or the text itself. `files` maps paths in the container to text, bytes or a path out here whose
    content and mode are copied; `programs` maps paths to programs out here, which are bound, not copied (they are big),
    and so cannot be replaced in there. `arguments` are systemd-nspawn's own.
    """
    assert os.geteuid() == 0, "a container takes root: run the tests as root"
    assert shutil.which("systemd-nspawn"), "systemd-nspawn is missing: scripts/ensure-packages test installs it"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scaemtest-boot-"))
    try:
        (folder / "room").mkdir()
        (folder / "out").mkdir()
        root = folder / "files"
        root.mkdir()
        for path, content in {
            "/usr/lib/systemd/system/scaem-test.target": TARGET,
            "/usr/lib/systemd/system/scaem-test.service": SERVICE,
            "/test/run": RUN,
            **{f"/test/{path.name}": path for path in INSIDE.iterdir() if path.is_file()},
            "/test/script": script,
            **(files or {}),
        }.items():
            place(root, path, content)
        (root / "test" / "script").chmod(0o755)
        binds = [f"--bind-ro={pathlib.Path(source).resolve()}:{path}" for path, source in (programs or {}).items()]
        command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
                   "sh", "-c", LAYOUT, "layout", str(folder / "room"), str(folder), *binds, *arguments]  # fmt: skip
        begun = time.monotonic()
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit
            )
            console = done.stdout
        except subprocess.TimeoutExpired as expired:
            console = (expired.stdout or b"") + f"\nnot done within {limit} s: ended".encode()
        return Booted(folder / "out", console.decode(errors="replace"), time.monotonic() - begun)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(root, path, content):
    """Writes one file below `root`, its folders with it, as everybody may read it."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pathlib.Path):
        shutil.copy(content, target)
        target.chmod(0o755 if content.stat().st_mode & stat.S_IXUSR else 0o644)
    else:
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        target.chmod(0o644)
