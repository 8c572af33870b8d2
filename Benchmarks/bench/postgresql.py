"""PostgreSQL as a peer: the same rotation and audit record, in one prepared transaction."""

import glob
import os
import pathlib
import pwd
import re
import subprocess

from .servers import Server
from .settings import SECONDS, TOKENS, fail, run


class PostgreSQL:
    """A private cluster as installed, except for its sockets; rotate and audit in one prepared transaction."""

    TRANSACTION = """\\set id random(1, {tokens})
\\set secret random(1, 9000000000000000000)
BEGIN;
UPDATE token SET digest = sha256(int8send(:secret)), issued = now(), expires = now() + interval '60 days'
    WHERE id = :id;
INSERT INTO audit (time, event, token, principal, uid, digest) VALUES (now(), 'rotated', :id, 'root', 0,
    sha256(int8send(:secret)));
COMMIT;
"""
    SCHEMA = """
CREATE TABLE token (id bigint PRIMARY KEY, application text NOT NULL, project text NOT NULL, digest bytea NOT NULL,
    issued timestamptz NOT NULL, expires timestamptz NOT NULL, UNIQUE (application, project));
CREATE TABLE audit (sequence bigserial PRIMARY KEY, time timestamptz NOT NULL, event text NOT NULL,
    token bigint NOT NULL, principal text NOT NULL, uid bigint NOT NULL, digest bytea NOT NULL);
INSERT INTO token SELECT i, 'bench/' || i / 4, 'P' || i % 4, sha256(int8send(i)), now(), now() + interval '60 days'
    FROM generate_series(1, {tokens}) i;
CREATE UNIQUE INDEX ON token (digest);
VACUUM ANALYZE;
"""

    def __init__(self, stack, sockets, data):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not programs:
            fail("PostgreSQL is not in /usr/lib/postgresql")
        self.programs = pathlib.Path(programs[-1])
        self.folder = data / "postgresql"
        self.sockets = sockets / "postgresql"
        for folder in (self.folder, self.sockets):
            folder.mkdir(mode=0o700)
        # PostgreSQL refuses to run as root.
        self.user = []
        if os.geteuid() == 0:
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
            account = pwd.getpwnam("postgres")
            sockets.chmod(0o711)
            for folder in (self.folder, self.sockets):
                os.chown(folder, account.pw_uid, account.pw_gid)
        run(*self.user, self.programs / "initdb", "-D", self.folder, "-A", "trust", "-U", "bench", "--no-sync", cwd="/")
        settings = {"listen_addresses": "", "unix_socket_directories": self.sockets, "shared_buffers": "256MB"}
        command = [*self.user, self.programs / "postgres", "-D", self.folder]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.server = Server(stack, "postgresql", command, cwd="/")
        self.connect = ["-h", self.sockets, "-U", "bench"]
        is_ready = [str(part) for part in (self.programs / "pg_isready", "-q", *self.connect)]
        self.server.wait_for("answer", lambda: subprocess.run(is_ready).returncode == 0)
        for statement in self.SCHEMA.format(tokens=TOKENS).split(";\n"):
            if statement.strip():
                self.ask(statement)
        self.script = self.sockets / "rotate.sql"
        self.script.write_text(self.TRANSACTION.format(tokens=TOKENS))

    def ask(self, statement):
        return run(self.programs / "psql", *self.connect, "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAtc", statement)

    def __call__(self, connections):
        log = self.sockets / "pgbench"
        out = run(self.programs / "pgbench", *self.connect, "-n", "-M", "prepared", "-c", connections, "-j", 1,
                  "-T", max(1, round(SECONDS)), "-f", self.script, "-l", f"--log-prefix={log}", "postgres")
        if not re.search(r"number of failed transactions: 0 ", out):
            fail(f"pgbench: {out}")
        taken = []
        for file in self.sockets.glob("pgbench.*"):
            taken += [int(line.split()[2]) for line in file.open()]
            file.unlink()
        taken.sort()
        at = lambda share: float(taken[min(len(taken) - 1, int(len(taken) * share))])  # noqa: E731
        return {"requests_per_second": float(re.search(r"^tps = ([\d.]+)", out, re.M)[1]), "p50_us": at(0.5),
                "p99_us": at(0.99), "p999_us": at(0.999), "max_us": float(taken[-1])}
