"""The official conformance suite as a package: where it is, what it requires, what it found."""

import collections
import json
import re
import subprocess
from pathlib import Path

import lab

PACKAGE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
WORK = lab.TARGET / "conformance"


class Suite:
    """The installed suite, and a Node that can run it."""

    def __init__(self):
        self.node = lab.node()
        self.folder = lab.npm(WORK / "npm", [PACKAGE]) / "@modelcontextprotocol" / "conformance"

    def run(self, log, *words, timeout=600):
        """Runs one verb of the suite; what it prints is in `log`, what it finds in the folder that `-o` names."""
        command = [self.node, self.folder / "dist" / "index.js", *words]
        with open(log, "wb") as out:
            subprocess.run([str(word) for word in command], stdout=out, stderr=out, timeout=timeout)

    def required(self, revision, leg):
        """The scenarios that a revision requires of a `server` or a `client`."""
        requirements = (self.folder / "requirements" / f"{revision}.yaml").read_text()
        section = re.search(rf"^{leg}:\n((?:  - .*\n)+)", requirements, re.M)[1]
        return re.findall(r"- (\S+)", section)


class Verdict:
    """What the checks of one scenario say. A scenario that did not run has no checks, and does not hold."""

    def __init__(self, checks):
        self.checks = checks

    @property
    def faults(self):
        """Each check that failed, as (id, message)."""
        return [(c["id"], c.get("errorMessage") or "") for c in self.checks if c["status"] == "FAILURE"]

    @property
    def holds(self):
        return bool(self.checks) and not self.faults

    def __str__(self):
        return "; ".join(f"{id}: {message}" for id, message in self.faults) or "not run"


def verdicts(out):
    """The verdict on each scenario whose result is below the folder `out`."""
    found = collections.defaultdict(lambda: Verdict([]))
    for path in Path(out).rglob("checks.json"):
        # A result's folder is `<leg>-<scenario>-<time>`, with the scenario's own slashes as further folders.
        name = str(path.parent.relative_to(out))
        scenario = re.sub(r"^(server|client)-|-\d{4}-\d\d-\d\dT[^/]*$", "", name)
        found[scenario] = Verdict(json.loads(path.read_text()))
    return found
