"""What `make install` puts where, for a container: the daemon and its client with their units, at their real places."""

import functools
import os
import pathlib
import subprocess

from boot import HERE, boot

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = "/usr/lib/systemd/system"


@functools.cache
def binaries():
    """The folder of the executables under test."""
    named = os.environ.get("SCAEM_BIN_DIR")
    if not named:
        done = subprocess.run(["swift", "build", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"set SCAEM_BIN_DIR, or build first: {done.stderr.strip()}"
        named = done.stdout.strip()
    for name in ("scaem-tokend", "scaem-token"):
        assert os.access(pathlib.Path(named) / name, os.X_OK), f"{named}/{name} is not there: build first"
    return pathlib.Path(named)


def programs():
    """The two programs, as `boot` wants them."""
    return {f"/usr/bin/{name}": binaries() / name for name in ("scaem-tokend", "scaem-token")}


def unit_files():
    """Everything of systemd/ at its place, and the contract tests' client for scripts in Python."""
    places = {".service": UNITS, ".socket": UNITS, ".timer": UNITS, ".target": UNITS}
    renamed = {
        ".sysusers": "/usr/lib/sysusers.d/scaem-tokend.conf",
        ".tmpfiles": "/usr/lib/tmpfiles.d/scaem-tokend.conf",
        ".catalog": "/usr/lib/systemd/catalog/scaem-tokend.catalog",
    }
    files = {}
    for path in sorted((ROOT / "systemd").iterdir()):
        if path.suffix in places:
            files[f"{places[path.suffix]}/{path.name}"] = path
        else:
            assert path.suffix in renamed, f"nobody installs {path}"
            files[renamed[path.suffix]] = path
    files["/test/wire.py"] = ROOT / "Tests" / "Contract" / "wire.py"
    return files


def boot_installed(script, *, files=None, extra_programs=None, **options):
    """Boots a container in which scaem-tokend is installed, and runs the script in it."""
    return boot(script, files={**unit_files(), **(files or {})}, programs={**programs(), **(extra_programs or {})}, **options)


def checks_of(script):
    """The names of the checks that a Python script makes, in their order."""
    names = [
        line.split("def check_", 1)[1].split("(", 1)[0]
        for line in pathlib.Path(script).read_text().splitlines()
        if line.startswith("def check_")
    ]
    assert names and len(set(names)) == len(names), f"{script}: {names}"
    return names


@functools.cache
def shim(name):
    """NAME_shim.c, compiled, to be preloaded in there."""
    source, target = HERE / f"{name}_shim.c", ROOT / ".build-test" / f"{name}.so"
    target.parent.mkdir(exist_ok=True)
    command = ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target
