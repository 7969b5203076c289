"""One script, many lives: runs a trainer through the real keeper, with kills in between.

The run directory, keeper and trainer are the real ones; only the daemon's place is taken by
a loop that starts the next attempt as soon as the last one has ended.
"""

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rig import environment

from rekindle.jobs import bootstrap
from rekindle.jobs.job import CheckpointPolicy, Job, Limits
from rekindle.jobs.process import Identity
from rekindle.state import checkpoints, durable, journal, tensors
from rekindle.state.paths import Run

MAX_LIVES = 60


@dataclass
class Result:
    """What a run came to.

    Attributes:
        ends: exit cause of each attempt.
        resumed: the receipt of each attempt that wrote one, in order.
        digests: of everything that must not depend on what happened on the way.
        kills: where each kill hit: (signal, epoch, step, section).
    """

    run: Run
    ends: list[str] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)

    @property
    def in_mid_epoch(self) -> int:
        """How many attempts went on from a checkpoint within an epoch."""
        return sum(self._within(r) for r in self.resumed)

    @property
    def went_on(self) -> int:
        """How many attempts went on from a step above zero."""
        return sum(r["checkpoint"] is not None and r["step"] > 0 for r in self.resumed)

    def _within(self, receipt: dict[str, Any]) -> bool:
        ended = {e["step"] for e in journal.replay(self.run.journal).entries
                 if e["kind"] == "epoch_ended"}
        return (receipt["checkpoint"] is not None and receipt["step"] > 0
                and receipt["step"] not in ended)


class Lives:
    """A run directory for ``script``, and attempts of it."""

    def __init__(self, root: Path, script: Path, *, args: list[str] | None = None, seed: int = 7,
                 policy: CheckpointPolicy | None = None, env: dict[str, str] | None = None,
                 grace: float = 60.0) -> None:
        self.run = Run(root / "run")
        self.work = root / "work"
        for folder in (self.run.root, self.work, self.run.logs, self.run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.job = Job(
            name="lives", id="lives-1", workdir=str(self.work), script=str(script),
            args=args or [], seed=seed, env=env or {}, limits=Limits(stop_grace=grace),
            checkpoint=policy or CheckpointPolicy(every_steps=7))
        self.write()
        self.attempt = 0
        self.keeper: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        durable.write_bytes(self.run.job_file, self.job.to_json().encode(), 0o600)

    def start(self) -> None:
        """Starts the next attempt; returns once its trainer runs."""
        self.attempt += 1
        lock = os.open(self.run.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.keeper = subprocess.Popen(
            bootstrap.command(sys.executable, "rekindle.jobs.keeper", str(self.run.root),
                              str(self.attempt), str(lock), options=("-I", "-S")),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment(), pass_fds=(lock,))
        os.close(lock)

    def trainer(self) -> Identity | None:
        """The trainer of the attempt that runs, None before it has started."""
        for entry in self.entries("attempt_started"):
            if entry["attempt"] == self.attempt:
                return Identity(entry["trainer_pid"], entry["trainer_start"], entry["boot_id"])
        return None

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in journal.replay(self.run.journal).entries if e["kind"] in kinds]

    def wait(self, seconds: float = 120.0) -> dict[str, Any]:
        """Until the attempt has ended; its end as journalled."""
        assert self.keeper is not None
        self.keeper.wait(seconds)
        return next(e for e in reversed(self.entries("attempt_ended"))
                    if e["attempt"] == self.attempt)

    def until(self, probe: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Polls until ``probe`` is true or the attempt has ended; what it gave last."""
        assert self.keeper is not None
        end = time.monotonic() + seconds
        while True:
            found = probe()
            if found or self.keeper.poll() is not None:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain: {self.log()}")
            time.sleep(0.002)

    def kill(self, signum: int) -> None:
        trainer = self.trainer()
        if trainer is not None:
            trainer.send(signum)

    def log(self) -> str:
        """The last lines of the newest log."""
        path = self.run.log(self.attempt)
        return path.read_text()[-3000:] if path.exists() else "(no log)"

    def result(self) -> Result:
        ends = [e["cause"] for e in self.entries("attempt_ended")]
        return Result(self.run, ends, self.entries("resumed"), digests(self))

    def close(self) -> None:
        if self.keeper is not None and self.keeper.poll() is None:
            self.kill(signal.SIGKILL)
            self.keeper.kill()
            self.keeper.wait()


def undisturbed(lives: Lives) -> Result:
    """One attempt, to the end."""
    lives.start()
    end = lives.wait(300)
    assert end["cause"] == "done", lives.log()
    return lives.result()


def stormy(lives: Lives, kills: int, seed: int, *, signals: tuple[int, ...] = (
        signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)) -> Result:
    """Kills at random places: after some steps, in validation, in a checkpoint's write."""
    dice = random.Random(seed)
    told = []
    while True:
        assert lives.attempt < MAX_LIVES, "it does not come to an end"
        lives.start()
        if len(told) < kills and lives.until(lives.trainer):
            signum = dice.choice(signals)
            where = _await_place(lives, dice)
            if where is not None:
                lives.kill(signum)
                told.append(f"{signal.Signals(signum).name} {where}")
        end = lives.wait(300)
        if end["cause"] == "done":
            result = lives.result()
            result.kills = told
            return result
        assert end["cause"] in ("preempted", "crash"), lives.log()
        if end["cause"] == "crash":
            assert end["signal"] is not None, lives.log()


def _await_place(lives: Lives, dice: random.Random) -> str | None:
    """Waits for a place in this attempt that the dice choose; None if it ended before."""
    kind = dice.choice(["steps", "steps", "steps", "write", "validation", "early"])
    if kind == "early":
        pause = dice.uniform(0.1, 3.0)
        end = time.monotonic() + pause
        lives.until(lambda: time.monotonic() > end)
        return f"after {pause:.1f} s"
    from rekindle.jobs import heartbeat

    def beat() -> heartbeat.Beat | None:
        found = heartbeat.read(lives.run.heartbeat)
        return found if found and found.attempt == lives.attempt else None

    first = lives.until(lambda: (b := beat()) and b.section == "step" and b)
    if not first:
        return None
    if kind == "write":
        hit = lives.until(lambda: list(lives.run.checkpoints.glob(".tmp-*")))
        return f"in the write of {hit[0].name}" if hit else None
    if kind == "validation":
        hit = lives.until(lambda: (b := beat()) and b.section == "validation" and b)
        return f"in validation at step {hit.step}" if hit else None
    ahead = dice.randint(1, 25)
    hit = lives.until(lambda: (b := beat()) and b.step >= first.step + ahead and b)
    return f"at epoch {hit.epoch}, step {hit.step}" if hit else None


def digests(lives: Lives) -> dict[str, str]:
    """SHA-256 of what must be equal: every array and number of the final state, user's files."""
    found: dict[str, str] = {}
    for checkpoint in checkpoints.scan(lives.run.checkpoints):
        if not checkpoint.position.end:
            continue
        arrays, metadata = tensors.load(checkpoint.state)
        for name, array in arrays.items():
            found[f"{checkpoint.name}:{name}"] = _digest(array)
        import json

        state = json.loads(metadata["state"])
        for key in ("position", "callbacks", "stop_training", "logs", "iterator", "evals",
                    "variables"):
            found[f"{checkpoint.name}:{key}"] = hashlib.sha256(
                json.dumps(state[key], sort_keys=True).encode()).hexdigest()
    for file in sorted(lives.work.rglob("*")):
        if file.is_file() and file.suffix in (".csv", ".txt", ".npz", ".json"):
            found[f"file:{file.relative_to(lives.work)}"] = _file_digest(file)
    epochs: dict[tuple[int, int], Any] = {}
    for entry in lives.entries("epoch_ended"):
        epochs[entry["stage"], entry["epoch"]] = (entry["step"], entry["logs"])
    for where, what in epochs.items():
        found[f"epoch:{where}"] = repr(what)
    return found


def _digest(array: np.ndarray[Any, Any]) -> str:
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Names of what differs between two runs' digests."""
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
