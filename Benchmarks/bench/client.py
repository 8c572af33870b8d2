"""The client's start to exit beside /bin/true's, its size, and what it needs."""

import json
import os
import statistics
import subprocess

from .servers import Daemon
from .settings import FOLDER, ROUNDS, note, run

WITHIN_TRUE, STRIPPED_MEGABYTES = 3.0, 8.0
RUNS = 200


def hyperfine(environment, *command):
    """The median of the runs' wall times in milliseconds; without a shell between."""
    written = FOLDER / "hyperfine.json"
    run("hyperfine", "--shell=none", "--warmup", "10", "--runs", RUNS, "--export-json", written, " ".join(command),
        env=environment)
    return json.loads(written.read_text())["results"][0]["median"] * 1e3


def measure(stack, programs, client, sockets, data):
    note("the client")
    daemon = Daemon(stack, programs, "for-the-client", sockets, data)
    daemon.start()
    environment = {**os.environ, "SCAEM_TOKEND_SOCKET": str(daemon.load.path)}
    token = data / "client-token"
    run(client, "register", "P1", "--output", token, env=environment)
    commands = {
        "/bin/true": ("/bin/true",),
        "scaem-token ping": (str(client), "ping"),
        "scaem-token introspect": (str(client), "introspect", str(token)),
        "scaem-token rotate": (str(client), "rotate", "P1"),
        # This one also syncs the file and its folder.
        "scaem-token rotate --output": (str(client), "rotate", "P1", "--output", str(token)),
    }
    rounds = [{name: hyperfine(environment, *command) for name, command in commands.items()} for _ in range(ROUNDS)]
    daemon.stop()
    linked = subprocess.run(["ldd", str(client)], text=True, capture_output=True)
    libraries = [line.split()[0] for line in linked.stdout.splitlines()] if linked.returncode == 0 else []
    stripped = FOLDER / "scaem-token"
    run("strip", "-o", stripped, client)
    return {
        "milliseconds": {name: statistics.median(each[name] for each in rounds) for name in commands},
        "times_true": {name: statistics.median(each[name] / each["/bin/true"] for each in rounds) for name in commands},
        "stripped_megabytes": stripped.stat().st_size / 1e6,
        "libraries": libraries,
    }
