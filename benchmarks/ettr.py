"""Measure the ETTR (useful by held time) of a job with kills, and that of 8 hours of it.

A real daemon runs one job whose steps wait, as those of an accelerator do. Its trainer gets as
many SIGKILLs as the long job would, some seconds of training apart; `show --json` divides the
time. Only what really scales is scaled to the long job:

- as measured, in all, since the number of kills is the same: queue, init, seek, restore, other;
- save: the measured stall of a save, as often as `every = "auto"` saves in the long job;
- repeat: of kills at random times, the time since the last checkpoint on disk, at the interval of
  `every = "auto"` for the measured costs of a save and the failures seen so far; at the first one
  of a process at most a minute. One that comes within the steps to prove repeats an interval more.

    python benchmarks/ettr.py [--kills 10] [--between 10] [--hours 8] [--millions 1] [--json FILE]
"""

import argparse
import functools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts import served

from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.saving import cadence
from rekindle.jobs.saving.cadence import Costs
from rekindle.state.ledger.held_time import LOSSES
from rekindle.state.paths import Home
from rekindle.state.run import journal

SCRIPT = Path(__file__).resolve().parent / "scripts" / "waiting.py"
GOAL = 0.99
FIXED = ("queue", "init", "seek", "restore", "other")
PLANS = 1000
NEAR = CheckpointPolicy().prove_steps
until = functools.partial(served.until, seconds=300.0, every=0.02)


class Run:
    """A home with a daemon and one job."""

    def __init__(self, root, args):
        self.home = Home(root / "home")
        self.home.create()
        steps = int((args.kills + 1) * args.between / args.step)
        words = [str(args.millions), str(args.step), str(steps)]
        spec = root / "long.toml"
        spec.write_text(
            f'name = "long"\nscript = "{SCRIPT}"\nargs = {json.dumps(words)}\n'
            f'python = "{sys.executable}"\n[checkpoint]\nevery = "{args.every}"\n'
        )
        spec.rename(self.home.inbox / "long.toml")
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(self.home.root), "run"],
            stdout=(root / "log").open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        self.run = self.home.run("long-1")

    def entries(self, kind, attempt=None):
        found = journal.replay(self.run.journal).entries
        return [
            e for e in found if e["kind"] == kind and (attempt is None or e["attempt"] == attempt)
        ]

    def kill(self, attempt, seconds):
        """Kill an attempt once it has trained for some seconds and has saved."""
        began = until(lambda: self.entries("resumed", attempt), f"attempt {attempt} trains")
        time.sleep(max(began[0]["t"] + seconds - time.time(), 0))

        def saved():
            found = self.entries("checkpoint_committed", attempt)
            return [one for one in found if one.get("why") not in ("start", "end")]

        until(saved, f"attempt {attempt} saves")
        os.kill(self.entries("attempt_started", attempt)[0]["trainer_pid"], signal.SIGKILL)

    def end(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(60)


def measure(args, root):
    """Run the job; return how its time divides, and what its saves cost."""
    made, dice = Run(root, args), random.Random(args.seed)
    try:
        for attempt in range(1, args.kills + 1):
            made.kill(attempt, args.between * dice.uniform(0.5, 1.5))
            print(f"kill {attempt} of {args.kills}", file=sys.stderr, flush=True)
        until(lambda: made.entries("stage_ended"), "the job ends")
        shown = until(
            lambda: (found := json_of(made.home)) and found["state"] == "done" and found, "done"
        )
    finally:
        made.end()
    saves = made.entries("checkpoint_committed")
    return {
        "time": shown["time"],
        "attempts": len(shown["attempts"]),
        "saves": len(saves),
        "stall": shown["time"]["losses"]["save"] / len(saves),
        "write": statistics.median(one["seconds"] for one in saves),
        "bytes": max(one["bytes"] for one in saves),
    }


def json_of(home):
    """Return what `show --json` prints."""
    words = [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root)]
    ran = subprocess.run([*words, "show", "long-1", "--json"], stdout=subprocess.PIPE)
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def scaled(found, kills, hours, seed, step):
    """Divide the time of a job of so many hours of training with as many kills."""
    useful = hours * 3600
    costs = Costs()
    costs.wrote(found["write"], found["bytes"])
    costs.stalled(found["stall"])
    dice, repeats, counts = random.Random(seed), [], []
    for _ in range(PLANS):
        at, repeat, saves = 0.0, 0.0, 0.0
        for failures, kill in enumerate([*sorted(dice.uniform(0, useful) for _ in range(kills))]):
            interval = costs.interval(cadence.time_between(failures, at))
            trained = kill - at
            # a process begins with the costs that those before it have measured
            regular = max(trained - min(interval, cadence.FIRST), 0.0)
            since = regular % interval if regular else trained
            repeat += min(since + found["write"], trained)
            if regular > interval and since + found["write"] < NEAR * step:
                repeat += interval
            saves += 1 + regular // interval
            at = kill
        interval = costs.interval(cadence.time_between(kills, at))
        repeats.append(repeat)
        counts.append(saves + (useful - at) // interval)
    fixed = {name: found["time"]["losses"][name] for name in FIXED}
    losses = {
        **fixed,
        "repeat": statistics.mean(repeats),
        "save": found["stall"] * statistics.mean(counts),
    }
    held = useful + sum(losses.values())
    return {
        "hours": hours,
        "kills": kills,
        "interval": costs.interval(cadence.time_between(kills, useful)),
        "saves": statistics.mean(counts),
        "useful": useful,
        "held": held,
        "losses": {name: losses[name] for name in LOSSES},
        "ettr": useful / held,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--between", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--millions", type=float, default=1.0, help="parameters, in millions")
    parser.add_argument("--step", type=float, default=0.05, help="seconds that a step waits")
    parser.add_argument("--every", default="2 s", help="interval of the run, not of the long job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result into this file")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
        found = measure(args, Path(folder))
    long = scaled(found, args.kills, args.hours, args.seed, args.step)
    print(
        f"{args.millions:g}M parameters and two slots, steps of {1000 * args.step:.0f} ms, "
        f"{args.kills} kills; a save stalls {1000 * found['stall']:.1f} ms and is written in "
        f"{found['write']:.2f} s; load {load:.1f}"
    )
    print(f"| seconds | measured run | {args.hours:g} hours |\n|---|---|---|")
    print(f"| useful | {found['time']['useful']:.1f} | {long['useful']:.0f} |")
    for name in LOSSES:
        print(f"| {name} | {found['time']['losses'][name]:.1f} | {long['losses'][name]:.1f} |")
    print(f"| held | {found['time']['held']:.1f} | {long['held']:.0f} |")
    print(f"| **ETTR** | **{found['time']['ettr']:.3f}** | **{long['ettr']:.4f}** |")
    word = "met" if long["ettr"] >= GOAL else "MISSED"
    print(
        f"\nthe long job saves every {long['interval']:.1f} s at the end ({long['saves']:.0f} "
        f"times); goal {GOAL}: {word}"
    )
    if args.json:
        about = {"load": load, "millions": args.millions, "step": args.step}
        args.json.write_text(json.dumps({**about, "run": found, "scaled": long}, indent=1) + "\n")


if __name__ == "__main__":
    main()
