"""What a lost power leaves of a disk, made from the trace of a daemon's calls: what was not synced is there or not."""

import dataclasses
import os
import shutil
import sqlite3
import struct

# The kinds of a trace's records, in the order of disk_shim.c.
KINDS = ["write", "truncate", "sync", "sync failed", "create", "unlink", "rename", "link"]
HEAD = struct.Struct("=7q")
SECTOR = 512


@dataclasses.dataclass
class Call:
    """One call that changed something: `at` is an offset, or the length of a truncation."""

    kind: str
    step: int
    inode: int
    at: int
    data: bytes
    path: str
    other: str


def read_trace(path):
    data, place, calls = path.read_bytes(), 0, []
    while place < len(data):
        kind, step, inode, at, count, name, other = HEAD.unpack_from(data, place)
        place += HEAD.size
        texts = [data[place : place + name].decode(), data[place + name : place + name + other].decode()]
        place += name + other
        calls.append(Call(KINDS[kind], step, inode, at, data[place : place + count], *texts))
        place += count
    return calls


def change(content, call):
    """One write or truncation of a file's bytes."""
    if call.kind == "truncate":
        content[call.at :] = bytes(max(0, call.at - len(content)))
    else:
        content.extend(bytes(max(0, call.at - len(content))))
        content[call.at : call.at + len(call.data)] = call.data


class File:
    """A file's bytes on the disk, and the calls since it was synced last."""

    def __init__(self):
        self.durable = bytearray()
        self.pending = []

    def sync(self):
        for call in self.pending:
            change(self.durable, call)
        self.pending = []

    def after(self, keeps):
        """The bytes after the power was lost: of what is pending, the sectors that `keeps` says."""
        content = bytearray(self.durable)
        for call in self.pending:
            if call.kind == "truncate":
                if keeps():
                    change(content, call)
                continue
            for start in range(0, len(call.data), SECTOR):
                if keeps():
                    change(content, dataclasses.replace(call, at=call.at + start, data=call.data[start:][:SECTOR]))
        return content


class Disk:
    """A disk that follows a trace, call by call.

    Names come and go in their order, as on a journaling file system, and are durable when their folder was synced. After
    a sync that failed the kernel takes what it could not write for clean: no later sync writes it."""

    def __init__(self):
        self.files = {}
        # Names as the program sees them, and as they are durable: path to file. A folder is a file that is never written.
        self.names = {}
        self.durable = {}
        self.pending = []
        self.by_inode = {}

    def follow(self, call):
        if call.kind in ("write", "truncate"):
            self.by_inode[call.inode].pending.append(call)
        elif call.kind == "sync":
            if call.inode in self.by_inode:
                self.by_inode[call.inode].sync()
            kept = [change for change in self.pending if os.path.dirname(change[0]) != call.path]
            for path, file in self.pending:
                if os.path.dirname(path) == call.path:
                    self._name(self.durable, path, file)
            self.pending = kept
        elif call.kind == "sync failed":
            if call.inode in self.by_inode:
                self.by_inode[call.inode].pending = []
        elif call.kind == "create":
            self._create(call)
        elif call.kind == "unlink":
            self._rename(call.path, None)
        else:
            self._rename(call.other, self.names[call.path])
            if call.kind == "rename":
                self._rename(call.path, None)

    def _create(self, call):
        if call.path in self.names and self.by_inode.get(call.inode) is self.names[call.path]:
            return
        # A number may come again after its file is gone: this is another file.
        file = File()
        self.by_inode[call.inode] = file
        self._rename(call.path, file)

    def _rename(self, path, file):
        self._name(self.names, path, file)
        self.pending.append((path, file))

    @staticmethod
    def _name(names, path, file):
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file

    def write(self, source, target, keeps=lambda: False):
        """Makes below `target` what is below `source` after the power was lost now."""
        names = dict(self.durable)
        for path, file in self.pending:
            if not keeps():
                break
            self._name(names, path, file)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        if os.fspath(source) not in names:
            return
        for path, file in names.items():
            # The index of the log is memory that is shared, made anew by whoever opens the database first.
            if os.path.dirname(path) == os.fspath(source) and not path.endswith("-shm"):
                place = target / os.path.basename(path)
                place.write_bytes(file.after(keeps))
                place.chmod(0o600)


def tables(path, gaps=False):
    """The current fingerprints and the last audit number, or None where nothing was made durable yet."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'audit'").fetchone():
            return None
        connection.execute("PRAGMA synchronous = OFF")
        rows = connection.execute(
            "SELECT name, project_code, digest FROM token JOIN application ON application.id = application_id")
        held = {(name, project): digest[:8].hex() for name, project, digest in rows}
        last, count = connection.execute("SELECT ifnull(max(sequence), 0), count(*) FROM audit").fetchone()
        assert gaps or last == count, "a hole in the audit"
        return last, held
    finally:
        connection.close()


def verify(moments, step, folder):
    """What is in the folder is the history up to the change that was acknowledged before a step at least, and up to a
    whole one."""
    least = max(number for at, number, _ in moments if at <= step)
    found = tables(folder / "tokens.db") if (folder / "tokens.db").exists() else None
    if found is None:
        assert least == 0, f"{least} changes were acknowledged and nothing is there"
        return
    last, rows = found
    assert last >= least, f"{least} changes were acknowledged, {last} are there"
    known = {number: held for _, number, held in moments}
    if last in known:
        assert rows == known[last], f"change {last} is not there whole"
