"""In the container: runs every function `check_…` of a script in its order and prints a line for each.

A check that fails does not stop those after it; they may fail for the same reason, and say so by themselves.
"""

import subprocess
import sys
import time
import traceback


def main(namespace):
    """To be called last: `checks.main(globals())`."""
    failed = 0
    for name, function in list(namespace.items()):
        if not name.startswith("check_"):
            continue
        try:
            function()
            print(f"ok {name.removeprefix('check_')}", flush=True)
        except BaseException as problem:  # also SystemExit: nothing may end the script early and look like success
            failed += 1
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())
            print(f"not ok {name.removeprefix('check_')}: {reason}", flush=True)
            traceback.print_exc(file=sys.stderr)
    sys.exit(1 if failed else 0)


def run(*command, check=True, timeout=60, **options):
    """A command's standard output; fails where it fails, with what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout
    return done


def prop(unit, name):
    """One property of a unit, as systemctl shows it."""
    return run("systemctl", "show", "-P", name, unit).strip()


def eventually(condition, timeout=20.0, what="it"):
    """Waits, within bounds, for something that has no event of its own, and returns it."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {timeout} s"
        time.sleep(0.02)


def journal(*matches):
    """The journal's entries, as dictionaries, after what was sent so far has arrived."""
    import json

    run("journalctl", "--sync")
    text = run("journalctl", "-q", "--all", "--no-pager", "-o", "json", *matches)
    return [json.loads(line) for line in text.splitlines()]
