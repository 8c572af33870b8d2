"""A short history of every kind of change, told to a daemon whose disk fails, and what must be there afterwards."""

import contextlib
import os
import re

import shapes
from daemon import Daemon, eventually, public_folder
from faults import DISK_SHIM, Panel
from power import read_trace
from wire import Connection, check_error, parse, request

KILLED = -9

HERE = {"application": "a", "project_code": "p"}
OTHER = {"application": "b", "project_code": "p"}
# TOKEN stands for the token that a/q holds then; None is a stop, which folds the log into the database, and a start.
TOKEN = object()
SCRIPT = [
    ("register", HERE), ("register", OTHER), ("generate", {"application": "a", "project_code": "q"}),
    ("rotate", {**HERE, "grace_seconds": 600}), ("rotate", {**HERE, "grace_seconds": 600}), ("rotate", OTHER),
    ("revoke", {"token": TOKEN}), ("generate", {"application": "a", "project_code": "q"}), ("revoke", OTHER),
    ("generate", OTHER), ("unregister", {"application": "b"}), ("register", OTHER), None, ("rotate", {**OTHER, "grace_seconds": 600}),
    ("unregister", {"application": "a"}), ("register", HERE),
]  # fmt: skip


def listing(connection):
    """What the tables hold: application and project to fingerprints, the current token's first."""
    return {
        (row["application"], row["project_code"]): [row["fingerprint"], *(old["fingerprint"] for old in row["previous"])]
        for row in connection.call("list", limit=1000)["tokens"]
    }


class Book:
    """What was acknowledged, and the one change of which that is not known."""

    def __init__(self):
        self.rows = {}
        self.secrets = {}
        self.asked = None
        self.acknowledged = 0

    def params(self, params):
        """The entry's params; None where the token that it names is gone. Of one that was made and that nobody was told,
        only the project is known."""
        if params.get("token") is not TOKEN:
            return params
        if ("a", "q") not in self.rows:
            return None
        token = self.secrets.get(self.rows["a", "q"][0])
        return {"token": token} if token else {"application": "a", "project_code": "q"}

    def after(self, method, params, fingerprint):
        """The rows after a change."""
        rows = {key: list(held) for key, held in self.rows.items()}
        key = (params.get("application"), params.get("project_code"))
        if method == "unregister":
            return {other: held for other, held in rows.items() if other[0] != key[0]}
        if "token" in params:
            return {other: held for other, held in rows.items() if held[0] != shapes.fingerprint(params["token"])}
        if method == "revoke":
            rows.pop(key, None)
        else:
            rows[key] = [fingerprint, *(rows.get(key, []) if "grace_seconds" in params else [])]
        return rows

    def acknowledge(self, method, params, result):
        token = result.get("registration_token")
        fingerprint = token and shapes.fingerprint(token)
        if token:
            self.secrets[fingerprint] = token
        self.rows = self.after(method, params, fingerprint)
        self.asked = None
        self.acknowledged += 1

    def settle(self, connection):
        """Every acknowledged change is there, what was asked last and not answered is there whole or not at all, and
        the index says what the tables say."""
        found = listing(connection)
        if self.asked and as_sets(found) != as_sets(self.rows):
            method, params = self.asked
            fresh = found.get((params.get("application"), params.get("project_code")), [None])[0]
            self.rows = self.after(method, params, fresh)
        assert as_sets(found) == as_sets(self.rows), f"{found}\nis not\n{self.rows}\nasked last: {self.asked}"
        self.asked = None
        alive = {fingerprint for held in found.values() for fingerprint in held}
        for fingerprint, token in self.secrets.items():
            assert connection.active(token) == (fingerprint in alive), "index and table differ"
        assert connection.call("status")["tokens"] == len(alive), "index and table differ"


def as_sets(rows):
    return {key: (held[0], set(held[1:])) for key, held in rows.items()}


def tell(connection, book, method, params):
    """Asks for one change. Gives "done", "refused" (-32007, nothing has changed) or "unknown" (the stream's end)."""
    line = None
    book.asked = method, params
    with contextlib.suppress(OSError):
        connection.send(request(method, params, 1) + b"\n")
        line = connection.read_line()
    if line is None:
        return "unknown"
    answer = parse(line)
    if "result" in answer:
        book.acknowledge(method, params, answer["result"])
        return "done"
    check_error(answer["error"])
    assert answer["error"]["code"] == -32007, answer
    book.asked = None
    return "refused"


def is_ready(daemon):
    with daemon.connect() as connection:
        return connection.call("status")["ready"]


def recovered(daemon):
    """Waits until the daemon says by itself that it is ready."""
    eventually(lambda: is_ready(daemon), 30, "being ready after the fault")


def exit_code_of_start(daemon):
    """Starts it: None when it serves, or how it ended."""
    daemon.launch()

    def settled():
        if daemon.process.poll() is not None:
            return True
        with contextlib.suppress(OSError, AssertionError), Connection(daemon.socket) as connection:
            return connection.call("ping") == {}
        return False

    eventually(settled, 30, "the start, or its end")
    return daemon.process.poll()


class Run:
    """The history once, on a new disk, with one fault."""

    def __init__(self, step=0, error=0, lasts=False):
        self.step = step
        self.disk = public_folder()
        self.trace = public_folder("scaemtest-trace-") / "trace"
        self.trace.touch()
        self.panel = Panel(DISK_SHIM, watched=self.disk, trace=self.trace)
        self.panel.set(fault_step=step, fault_errno=error, fault_lasts=int(lasts))
        self.daemon = Daemon(folder=self.disk, state=self.disk / "state", environment=self.panel.environment)
        self.daemon.allow_logged_errors()
        self.daemon.socket = public_folder("scaemtest-socket-") / "tokend.sock"
        self.daemon.log = self.daemon.socket.with_name("daemon.log")
        self.book = Book()
        # After each acknowledged change: the steps until then, the last audit number, the current fingerprints.
        self.moments = [(0, 0, {})]
        self.answers = {"done": 0, "refused": 0, "unknown": 0, "start refused": 0}

    def ask(self, method, params):
        """One change, as `tell`; the calls until it was acknowledged are noted."""
        with self.daemon.connect() as connection:
            outcome = tell(connection, self.book, method, params)
        self.answers[outcome] += 1
        if outcome == "done":
            with self.daemon.connect() as connection:
                sequence = connection.call("status")["audit"]["sequence"]
            held = {key: fingerprints[0] for key, fingerprints in self.book.rows.items()}
            self.moments.append((self.panel.get("steps"), sequence, held))
        return outcome

    def settle(self):
        with self.daemon.connect() as connection:
            self.book.settle(connection)

    def acknowledged(self, step):
        """The last moment until a step."""
        return max((moment for moment in self.moments if moment[0] <= step), key=lambda moment: moment[1])

    def lift(self):
        self.panel.set(fault_step=0)

    def start(self):
        """Whether it serves. A start that a fault prevents ends with a sentence."""
        code = exit_code_of_start(self.daemon)
        if code is None or code == KILLED:
            return code is None
        said = [line for line in self.daemon.output().splitlines() if re.match(r"scaem-tokend: (error|critical):", line)]
        assert code > 0 and said and len(said[-1].split()) > 5, f"{code}: {self.daemon.output()}"
        self.answers["start refused"] += 1
        return False

    def stop(self):
        self.daemon.terminate()
        code = self.daemon.wait()
        assert code in (0, KILLED), self.daemon.output()
        return code == 0

    def verify(self):
        """All is as it must be: in the daemon as it runs, after kill -9, and in the file."""
        if self.daemon.process.poll() is None:
            self.settle()
            self.daemon.kill9()
        self.daemon.start()
        with self.daemon.connect() as connection:
            self.book.settle(connection)
            connection.call("register", application="new", project_code="p")
        self.daemon.kill9()
        done = self.daemon.tool("check")
        assert done.returncode == 0, done
        self.daemon.examine()

    def discard(self):
        if self.daemon.process.poll() is None:
            self.daemon.kill9()


def until_killed(run):
    """The history, until the fault ends the process."""
    if not run.start():
        return
    for entry in SCRIPT:
        if entry is None:
            if not (run.stop() and run.start()):
                return
            continue
        outcome = run.ask(entry[0], run.book.params(entry[1]))
        assert outcome != "refused"
        if outcome == "unknown":
            assert run.daemon.process.wait(10) == KILLED
            return
    run.stop()


def through(run, script=SCRIPT, killing=False):
    """A history to its end: what is refused or unknown is asked again once the disk is well, or, where the daemon is
    then to be killed, by the next one. What was refused must not be there then, though it may have been written."""
    while not run.start():
        run.lift()
    for entry in script:
        if entry is None:
            run.stop()
            while not run.start():
                run.lift()
            continue
        while True:
            params = run.book.params(entry[1])
            if params is None:
                break
            before = dict(run.book.rows)
            outcome = run.ask(entry[0], params)
            if outcome == "done":
                break
            if killing:
                run.daemon.kill9()
                run.lift()
                run.daemon.start()
            if outcome == "refused":
                run.settle()
            # The disk heals; nobody has to ask for a change first.
            run.lift()
            recovered(run.daemon)
            run.settle()
            if outcome == "unknown" and run.book.rows != before:
                break
    run.stop()


def numbered_calls():
    """The numbers of the calls of a run without a fault, to what a call syncs: the name's last part, or nothing."""
    run = Run()
    until_killed(run)
    assert run.book.acknowledged == len(SCRIPT) - 1
    total = run.panel.get("steps")
    syncs = {call.step: os.path.basename(call.path) for call in read_trace(run.trace) if call.kind == "sync"}
    run.verify()
    assert total > 100 and "state" in syncs.values(), "so few calls reach the disk: the shim does not see them"
    return {step: syncs.get(step, "") for step in range(1, total + 1)}


def points(steps, random):
    """Which of the numbered calls are tried: SCAEM_FAULT_POINTS of them, spread over all and half of them syncs, or each.

    `steps` are the numbers of a history's calls, to what a call syncs, if it does."""
    wanted = os.environ.get("SCAEM_FAULT_POINTS", "8")
    if wanted == "all":
        return sorted(steps)
    syncs = sorted(step for step, synced in steps.items() if synced)
    others = sorted(steps.keys() - syncs)
    return sorted(spread(syncs, int(wanted) // 2, random) + spread(others, int(wanted) // 2, random))


def spread(numbers, count, random):
    """One of each `count`-th part."""
    count = min(count, len(numbers))
    return [numbers[random.randrange(len(numbers) * n // count, len(numbers) * (n + 1) // count)] for n in range(count)]


def report(text):
    """A line for the summary of `make soak`."""
    print(text)
    if os.environ.get("SCAEM_FIGURES"):
        with open(os.environ["SCAEM_FIGURES"], "a") as figures:
            figures.write(text + "\n")
