"""Faults and clocks: shims that are preloaded into the daemon, told what to do through a small shared file."""

import contextlib
import functools
import mmap
import os
import pathlib
import struct
import subprocess

from daemon import eventually, public_folder

HERE = pathlib.Path(__file__).resolve().parent
CLOCK_SHIM = "clock_shim.c"
LOOKUP_SHIM = "lookup_shim.c"
DISK_SHIM = "disk_shim.c"

# The layout of struct panel in panel.h: 64-bit numbers.
FIELDS = ["frozen", "wall_nanoseconds", "boot_nanoseconds", "lookup_errno", "write_errno", "sync_errno", "faults_hit",
          "lookup_gate", "lookup_waiting", "sync_delay_milliseconds", "steps", "fault_step", "fault_errno",
          "fault_lasts", "sync_gate", "sync_waiting", "sync_passes", "database_gate", "database_waiting",
          "read_gate", "read_waiting"]  # fmt: skip


@functools.cache
def compiled(source):
    """The shared object of a shim, compiled once a run."""
    target = public_folder("scaemtest-shim-") / (source[:-2] + ".so")
    command = ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(HERE / source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr}"
    return target


class Panel:
    """The switches of one daemon's shims; they keep their positions over its restarts."""

    def __init__(self, *sources, watched=None, trace=None):
        self.path = public_folder("scaemtest-panel-") / "panel"
        self.path.write_bytes(bytes(8 * len(FIELDS)))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8 * len(FIELDS))
        self.environment = {
            "LD_PRELOAD": ":".join(str(compiled(source)) for source in sources),
            "SCAEM_TEST_PANEL": str(self.path),
        }
        if watched is not None:
            self.environment["SCAEM_TEST_DISK"] = os.path.realpath(watched)
        if trace is not None:
            self.environment["SCAEM_TEST_TRACE"] = os.fspath(trace)

    def set(self, **values):
        for key, value in values.items():
            struct.pack_into("=q", self.memory, 8 * FIELDS.index(key), value)

    def get(self, key):
        return struct.unpack_from("=q", self.memory, 8 * FIELDS.index(key))[0]

    @contextlib.contextmanager
    def held(self, what):
        """What comes to this gate (`lookup`, `sync`, `database`, `read`) waits there for as long as the block runs."""
        self.set(**{f"{what}_gate": 1})
        try:
            yield
        finally:
            self.set(**{f"{what}_gate": 0})

    def await_waiting(self, what):
        eventually(lambda: self.get(f"{what}_waiting") > 0, 30, f"the {what} that is held")


class Clock:
    """The daemon's two clocks, stopped: they move only when a test says so, to the millisecond."""

    def __init__(self, panel, wall=1_750_000_000_000, boot=1_000_000):
        self.panel = panel
        self.wall = wall
        self.boot = boot
        self._show()
        panel.set(frozen=1)

    def _show(self):
        self.panel.set(wall_nanoseconds=self.wall * 1_000_000, boot_nanoseconds=self.boot * 1_000_000)

    def advance(self, milliseconds):
        """Time passes: both clocks move."""
        self.wall += milliseconds
        self.boot += milliseconds
        self._show()

    def set_wall(self, milliseconds):
        """Somebody sets the wall clock; no time passes."""
        self.wall = milliseconds
        self._show()
