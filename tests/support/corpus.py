"""Run the scripts of the corpus undisturbed and under kills, and compare what they write.

``python tests/support/corpus.py [--seed N] [--record FILE] [NAME ...]`` runs scripts of
``tests/scripts/corpus`` and prints the table of docs/reliability.md. With ``REKINDLE_SPARES=1`` the
relaunches begin in warm spares.
"""

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import keras_environments
import lives as driver
import numpy as np
from keras_environments import Environment
from lives import Blow, Lives
from rig import ROOT

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import proof

FOLDER: Final = ROOT / "tests" / "scripts" / "corpus"
EVERY: Final = 2
"""Steps between two checkpoints."""
KILLS: Final = 4
LEGACY: Final = "TF_USE_LEGACY_KERAS"
"""Environment variable by which ``tf.keras`` is ``tf_keras``."""
SPARES: Final = "REKINDLE_SPARES"
"""Environment variable with which relaunches begin in warm spares, where the script gets one."""
ELSEWHERE: Final = {
    "on_jax_": "keras-3.15.1-jax",
    "on_torch_": "keras-3.15.1-torch",
    "jax_": "jax-0.10.2",
    "torch_": "torch-2.13.0",
}
"""Environments of scripts, by the beginning of their names."""
_LIMIT_S: Final = 180.0

IDENTICAL, NAMED, HELD = "identical", "named", "held"
FAILED, SILENT = "failed", "silent"
GOOD: Final = frozenset({IDENTICAL, NAMED, HELD})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold what became of a script under kills.

    Attributes:
        result: identical; named (it differs, and journal or receipt say so); held (the job waits
            for a person, with a reason); failed (a relaunch raised what an undisturbed run does
            not raise); silent (it differs, and nothing says so).
        kills: signals that hit.
        resumes: attempts that were resumed from a checkpoint above step 0.
        steps: of the undisturbed run, as far as it was followed.
        said: what journal and receipts say, without repetitions.
        different: names of the results that differ.
        alarms: of an identical run, differences that repeated steps showed and caveats. Without a
            reason in the script these are false alarms.
    """

    name: str
    result: str
    kills: int
    resumes: int
    steps: int
    said: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


def names() -> list[str]:
    """List the scripts of the corpus."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.name.startswith("_"))


def environment_of(name: str) -> Environment | None:
    """Return the environment of a script of another library; None for TensorFlow."""
    found = (one for start, one in ELSEWHERE.items() if name.startswith(start))
    return next((keras_environments.ENVIRONMENTS[one] for one in found), None)


def missing(name: str) -> str | None:
    """Return why a script cannot run here: a package that it imports is missing."""
    from importlib.util import find_spec

    elsewhere = environment_of(name)
    if elsewhere is not None:
        if LEGACY in os.environ:
            return "legacy Keras has TensorFlow alone"
        if not (elsewhere.folder / ".done").exists():
            return f"`make test-keras KERAS={elsewhere.name}` makes its environment"
        return None
    text = (FOLDER / f"{name}.py").read_text()
    for package in ("keras_tuner", "optuna", "sklearn"):
        if f"import {package}" in text or f"from {package}" in text:
            if find_spec(package) is None:
                return f"{package} is not installed"
    return None


def examine(name: str, root: Path, seed: int = 1) -> Outcome:
    """Run a script undisturbed and killed, and compare.

    Raises:
        AssertionError: the undisturbed run does not end with exit code 0.
    """
    dice = random.Random(zlib.crc32(f"{name} {seed}".encode()))
    return compared(name, root, calm(name, root), dice)[0]


@dataclass(frozen=True, slots=True)
class Calm:
    """Hold what an undisturbed run of a script wrote and said, its steps, and its seconds."""

    results: dict[str, str]
    said: list[str]
    steps: int
    seconds: float


def calm(name: str, root: Path) -> Calm:
    """Run a script undisturbed.

    Raises:
        AssertionError: it does not end with exit code 0.
    """
    lives = _lives(root / "calm", name)
    began = time.monotonic()
    lives.start()
    end = lives.wait(_LIMIT_S)
    took = time.monotonic() - began
    assert end["cause"] == "done", f"{name}: {lives.log()}"
    return Calm(_results(lives), list(dict.fromkeys(said(lives))), _steps(lives), took)


def compared(
    name: str, root: Path, undisturbed: Calm, dice: random.Random
) -> tuple[Outcome, driver.Result]:
    """Run a script under kills, and compare it with its undisturbed run."""
    struck = _lives(root / "struck", name)
    kills, trouble = _strike(struck, undisturbed.steps, undisturbed.seconds, dice)
    different = tuple(driver.differences(undisturbed.results, _results(struck)))
    words = tuple(dict.fromkeys([*undisturbed.said, *said(struck)]))
    alarms: tuple[str, ...] = ()
    if trouble:
        verdict = HELD if trouble.startswith("held") else FAILED
        words = (trouble, *words)
    elif not different:
        verdict = IDENTICAL
        alarms = words
    else:
        verdict = NAMED if words else SILENT
    result = struck.result()
    result.kills = kills
    outcome = Outcome(
        name, verdict, len(kills), result.resumes, undisturbed.steps, words, different, alarms
    )
    return outcome, result


def _lives(root: Path, name: str) -> Lives:
    shutil.rmtree(root, ignore_errors=True)
    script = FOLDER / f"{name}.py"
    text = script.read_text()
    legacy = {name: value for name, value in os.environ.items() if name == LEGACY}
    lives = Lives(
        root,
        script,
        # ends without weights wherever that may be
        policy=CheckpointPolicy(every_steps=EVERY, keep_ends=0),
        grace=30.0,
        # the warm interpreter of a test process may have been started without scikit-learn, and
        # TensorFlow, which it has loaded, may hang in the children that a script forks
        cold="sklearn" in text
        or "multiprocessing" in text
        or bool(legacy)
        or environment_of(name) is not None
        or SPARES in os.environ,
        spares=SPARES in os.environ,
    )
    lives.change(env=legacy)
    elsewhere = environment_of(name)
    if elsewhere is not None:
        env = {"STRIKE_USED": "jax,matplotlib,pandas,sklearn,torch"}  # hide none
        lives.change(python=str(elsewhere.interpreter), env=env)
    return lives


def _strike(lives: Lives, steps: int, took: float, dice: random.Random) -> tuple[list[str], str]:
    """Kill attempts until the script is done; return the kills, and what stopped it else."""
    report = lives.run.root / "report.jsonl"
    kills: list[str] = []
    for number in range(KILLS + 8):
        blow = None
        if number < KILLS and steps:
            count = max(1, round(steps * dice.uniform(0.15, 0.4)))
            signum = signal.SIGTERM if number % 2 else signal.SIGKILL
            blow = Blow(dice.choice(["step", "batch"]), count, signum, delay=dice.uniform(0, 0.004))
        lives.start(blow, report)
        if not steps and number < 2:  # nothing is followed: a moment of the clock
            until = time.monotonic() + took * dice.uniform(0.5, 0.8)
            lives.until(lambda until=until: time.monotonic() > until)
            if lives.kill(signal.SIGKILL):
                kills.append("SIGKILL after a time")
        end = lives.wait(_LIMIT_S)
        if report.exists():
            line = json.loads(report.read_text())
            kills.append(f"{blow} {line['place']} (epoch {line['epoch']}, step {line['step']})")
            report.unlink()
        if end["cause"] == "done":
            return kills, ""
        if end["cause"] == "permanent":
            return kills, f"held: {_why(lives)}"
        if end["cause"] not in ("preempted", "lost") and end.get("signal") is None:
            return kills, f"{end['cause']}: {_why(lives)}"
    return kills, "it does not end"


def _why(lives: Lives) -> str:
    failed = lives.entries("failed", "refused")
    if failed:
        return f"{failed[-1].get('error_type', '')}: {failed[-1].get('message', '')}"
    return lives.log()[-300:]


def _steps(lives: Lives) -> int:
    """Count the batches of the run; an entry counts those of the stages before it, too."""
    return max((entry["step"] for entry in lives.entries("epoch_ended")), default=0)


def _results(lives: Lives) -> dict[str, str]:
    """Digest the files that the script wrote: of models their weights, without times."""
    found = {
        name: digest for name, digest in driver.digests(lives).items() if name.startswith("file:")
    }
    for file in sorted(lives.work.rglob("*")):
        name = f"file:{file.relative_to(lives.work)}"
        if file.suffix in (".npy", ".pkl"):
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif file.suffix in (".h5", ".hdf5"):
            found[name] = _weights_digest(file)
        elif file.suffix == ".keras" and file.is_file():
            with zipfile.ZipFile(file) as parts:
                found[name] = _weights_digest(io.BytesIO(parts.read("model.weights.h5")))
    return found


def _weights_digest(file: Any) -> str:
    """Digest the arrays alone: automatic names of layers, in it too, count those of a process."""
    found = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            content = np.asarray(item[()])
            raw = repr(content.tolist()).encode() if content.dtype.hasobject else content.tobytes()
            found.update(f"{name} {content.dtype} {content.shape}".encode() + raw)

    with h5py.File(file) as weights:
        weights.visititems(add)
    return found.hexdigest()


def said(lives: Lives) -> Iterator[str]:
    """Return what journal and receipts say, with repetitions."""
    for entry in lives.entries("warned", "unfollowed", "resumed", "determinism", "changed"):
        for key in ("message", "unfollowed"):
            if isinstance(entry.get(key), str) and entry[key]:
                yield entry[key]
        for key in ("inexact", "unfollowed", "changed"):
            if isinstance(entry.get(key), list):
                yield from map(str, entry[key])
    for entry in lives.entries("proved"):
        if entry["result"] == proof.DIFFERENT:
            yield f"attempt {entry['attempt']}: {proof.words(entry)}"
        yield from map(str, entry.get("state") or ())


def table(outcomes: list[Outcome]) -> str:
    """Format outcomes as the table of docs/reliability.md."""
    lines = ["| script | result | kills | resumes | steps |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.result} | {one.kills} | {one.resumes} | {one.steps} |"
        for one in outcomes
    ]
    counts = {
        result: sum(one.result == result for one in outcomes)
        for result in (IDENTICAL, NAMED, HELD, FAILED, SILENT)
    }
    total = ", ".join(f"{count} {result}" for result, count in counts.items())
    kills = sum(one.kills for one in outcomes)
    lines.append(f"| **{len(outcomes)} scripts** | {total} | {kills} | | |")
    alarms = [f"- {one.name}: {text}" for one in outcomes for text in one.alarms]
    if alarms:
        lines += ["", "Identical, and reported all the same:", "", *alarms]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--legacy", action="store_true", help="train with tf_keras")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    args = parser.parse_args()
    if args.legacy:
        os.environ[LEGACY] = "1"
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = args.keep or Path(temporary)
        for name in args.names or names():
            if reason := missing(name):
                print(f"{name}: skipped, {reason}", file=sys.stderr)
                continue
            try:
                outcome = examine(name, root / name, args.seed)
            except AssertionError as error:
                outcome = Outcome(name, "broken", 0, 0, 0, (str(error)[-1500:],))
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), file=sys.stderr, flush=True)
            if args.record:
                with args.record.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
    print(table(outcomes))
    return 0 if all(one.result in GOOD for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
