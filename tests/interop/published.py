"""What both interoperability runs put behind switchbox, and in front of it: published packages, and a space for them."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import lab

WORK = lab.TARGET / "interop"
NPM = [
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
    "@modelcontextprotocol/server-sequential-thinking@2026.8.31",
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/client@2.4.0",
    "@modelcontextprotocol/server@2.4.0",
    "@modelcontextprotocol/node@2.1.2",
    "@modelcontextprotocol/inspector@2.12.0",
]
PYPI = ["mcp-server-time==2026.10.19", "mcp-server-fetch==2026.10.24", "mcp-server-git==2026.10.19"]
PYTHONS = {"python1": "mcp==1.30.0", "python2": "mcp==2.3.0", "fastmcp": "fastmcp==4.1.2"}


class Packages:
    """Everything that is installed: a Node, its modules, the servers written in Python, and a Python for each client."""

    def __init__(self, pythons):
        self.node = lab.node()
        self.modules = lab.npm(WORK / "npm", NPM)
        self.bin_of_servers = lab.python(WORK / "servers", PYPI).parent
        self.pythons = {name: lab.python(WORK / name, [PYTHONS[name]]) for name in pythons}

    def beside_modules(self, script):
        """A copy of a script from where Node finds the modules that it imports."""
        return shutil.copy(script, self.modules.parent)

    def commands(self, space):
        """How each published server is started on stdio, by its name in the configuration."""
        script = lambda package: self.modules / "@modelcontextprotocol" / package / "dist" / "index.js"
        return {
            "everything": [self.node, script("server-everything")],
            "filesystem": [self.node, script("server-filesystem"), space],
            "memory": [self.node, script("server-memory")],
            "thinking": [self.node, script("server-sequential-thinking")],
            "time": [self.bin_of_servers / "mcp-server-time"],
            "fetch": [self.bin_of_servers / "mcp-server-fetch", "--ignore-robots-txt", "--allow-private-ips"],
            "git": [self.bin_of_servers / "mcp-server-git", "--repository", space / "repository"],
        }

    def inspect(self, era, target, space, *words):
        """The answer of one invocation of the Inspector's command line, which is a session of its own."""
        launcher = self.modules / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
        # Named in a file, since its own command line takes the flags of a server's command for its own.
        session = WORK / f"inspector-{os.getpid()}-{time.monotonic_ns()}.json"
        kind = {"type": "http"} if "url" in target else {"type": "stdio"}
        session.write_text(json.dumps({"mcpServers": {"target": kind | target}}))
        place = ["--config", str(session), "--server", "target", "--protocol-era", era]
        command = [str(self.node), str(launcher), "--cli", *place, *words]
        environment = {**os.environ, "HOME": str(space), "MCP_INSPECTOR_SECRET_STORE": "memory"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
            return json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            return {"stderr": "nothing within 60 s"}
        except json.JSONDecodeError:
            return {"exit": done.returncode, "stdout": done.stdout[-300:], "stderr": done.stderr[-300:]}
        finally:
            session.unlink()


def entry(command, space):
    """A configuration's entry for a command. A child is given what it needs of the environment, by name."""
    env = {"PATH": os.environ["PATH"], "HOME": str(space), "SWITCHBOX_INTEROP": str(space)}
    return {"command": str(command[0]), "args": [str(word) for word in command[1:]], "env": env}


def fresh_space(name):
    """An empty folder with a repository that has one commit."""
    space = (WORK / name).resolve()
    shutil.rmtree(space, ignore_errors=True)
    repository = space / "repository"
    repository.mkdir(parents=True)
    (repository / "read.me").write_text("something to commit\n")
    git = ["git", "-C", str(repository), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first commit"]):
        subprocess.run([*git, *words], check=True)
    return space


def strays(space, patience=5):
    """Servers of this run that are still there after a moment, whoever started them: they carry a mark."""
    mark, deadline = f"SWITCHBOX_INTEROP={space}".encode(), time.monotonic() + patience
    while True:
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                    found.append(int(process))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
