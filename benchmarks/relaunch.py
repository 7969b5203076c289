"""Time from SIGKILL of a trainer to the first step of the next attempt, cold and in a warm spare.

python benchmarks/relaunch.py [--kills 6] [--cold] [--json FILE]

A daemon for each kind, killed in turn. The parts of the time are those that the journal and
`benchmarks/scripts/relaunched.py` write down.
"""

import argparse
import functools
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts import served

from rekindle.state.paths import Home
from rekindle.state.run import journal

SCRIPT = Path(__file__).parent / "scripts" / "relaunched.py"
PARTS = (
    ("ended", "the keeper records the end"),
    ("started", "verdict, delay, keeper, spawn"),
    ("trainer", "interpreter, modules of the trainer"),
    ("imported", "imports of the script"),
    ("built", "data and model"),
    ("resumed", "checkpoint restored"),
    ("step", "first step, with its tracing"),
)
TOTAL = "SIGKILL to the first step"
until = functools.partial(served.until, seconds=120.0, every=0.02)


class Kind:
    """A home with a daemon and one training, which is killed again and again."""

    def __init__(self, root, name, spares):
        self.name = name
        self.home = Home(root / name)
        self.home.create()
        self.times = root / f"{name}.times"
        self.found = []
        if spares is not None:
            self.home.config.write_text(f"[daemon]\nwarm_spares = {str(spares).lower()}\n")
        self.log = (root / f"{name}.log").open("wb")
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(self.home.root), "run"],
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        (root / "part").mkdir(exist_ok=True)
        spec = root / "part" / f"{name}.toml"
        spec.write_text(
            f'name = "{name}"\nscript = "{SCRIPT}"\nargs = ["{self.times}"]\n'
            f'python = "{sys.executable}"\n[checkpoint]\nevery = "50 steps"\n'
        )
        spec.rename(self.home.inbox / f"{name}.toml")
        self.run = self.home.run(f"{name}-1")
        self.attempt = 1
        self.until_trained()

    def entries(self, kind, attempt):
        found = journal.replay(self.run.journal).entries
        return [e for e in found if e["kind"] == kind and e["attempt"] == attempt]

    def marks(self, attempt):
        lines = [line.split() for line in self.times.read_text().splitlines()]
        return [(float(at), what) for at, number, what in lines if int(number) == attempt]

    def until_trained(self):
        """Wait until the attempt has trained for some seconds, and has a spare if it gets one."""
        begun = until(self._has_begun, f"attempt {self.attempt} of {self.name} trains")
        until(
            lambda: time.time() - begun > 10 and self.entries("checkpoint_committed", self.attempt),
            f"attempt {self.attempt} of {self.name} saves",
        )

    def _has_begun(self):
        if not self.times.exists():
            return None
        return next((at for at, what in self.marks(self.attempt) if what == "step"), None)

    def kill(self):
        trainer = self.entries("attempt_started", self.attempt)[0]["trainer_pid"]
        killed = time.time()
        os.kill(trainer, signal.SIGKILL)
        before, self.attempt = self.attempt, self.attempt + 1
        self.until_trained()
        now = self.attempt
        first = {}
        for at, what in self.marks(now):
            first.setdefault(what, at)
        first["ended"] = self.entries("attempt_ended", before)[0]["t"]
        first["started"] = self.entries("attempt_started", now)[0]["t"]
        first["trainer"] = self.entries("provenance", now)[0]["t"]
        first["resumed"] = self.entries("resumed", now)[0]["t"]
        times = [killed, *(first[part] for part, _ in PARTS)]
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def end(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(60)
        self.log.close()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=6, help="measured kills of each kind")
    options.add_argument("--cold", action="store_true", help="measure cold relaunches alone")
    options.add_argument("--json", type=Path, help="write the medians into this file")
    options.add_argument("--keep", type=Path, help="a new folder, to look at afterwards")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if chosen.keep:
            root = chosen.keep
            root.mkdir()
        kinds = []
        try:
            kinds.append(Kind(root, "cold", None if chosen.cold else False))
            if not chosen.cold:
                kinds.append(Kind(root, "warm", True))
            for kind in kinds:
                kind.kill()  # a spare waits from the second attempt on
            for _ in range(chosen.kills):
                for kind in kinds:
                    kind.found.append(kind.kill())
        finally:
            for kind in kinds:
                kind.end()
        found = medians(kinds)
        show(found)
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n")


def medians(kinds):
    """Return the median seconds of each part, and of all, by kind; and how many there were."""
    return {
        "kills": len(kinds[0].found),
        **{
            kind.name: {
                **{
                    text: statistics.median(row[number] for row in kind.found)
                    for number, (_, text) in enumerate(PARTS)
                },
                TOTAL: statistics.median(map(sum, kind.found)),
            }
            for kind in kinds
        },
    }


def show(found):
    kinds = {name: one for name, one in found.items() if name != "kills"}
    print(f"| part, seconds (medians of {found['kills']}) |", end="")
    print("".join(f" {name} |" for name in kinds))
    print("|---|" + "---|" * len(kinds))
    for text in kinds["cold"]:
        bold = "**" if text == TOTAL else ""
        cells = (f" {bold}{one[text]:.2f}{bold} |" for one in kinds.values())
        print(f"| {bold}{text}{bold} |" + "".join(cells))
    if "warm" in kinds:
        cold, warm = (one[TOTAL] for one in kinds.values())
        print(f"\nwarm / cold: {warm / cold:.2f}")


if __name__ == "__main__":
    main()
