"""One script, many lives: run a trainer through the real keeper, with kills in between.

Run directory, keeper and trainer are real; only the daemon is replaced by a loop that starts the
next attempt as soon as the last one has ended.
"""

import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import warm
from rig import ROOT, environment

from rekindle.daemon.spares.standbys import Standbys
from rekindle.jobs import bootstrap
from rekindle.jobs.job import CheckpointPolicy, Job, Limits
from rekindle.jobs.process import Identity
from rekindle.state import crash_points, durable
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal, proof, tensors

MAX_LIVES = 60


@dataclass
class Result:
    """Hold the result of a run.

    Attributes:
        ends: exit cause of each attempt.
        resumed: the receipt of each attempt that wrote one, in order.
        digests: of everything that must not depend on the kills.
        kills: signal, place, epoch and step of each kill, as text.
        proofs: the last `proved` entry of each stage of each attempt.
    """

    run: Run
    ends: list[str] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)
    proofs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def proved(self) -> int:
        """Number of attempts of which repeated steps were compared and are identical."""
        return len({p["attempt"] for p in self.proofs if p["result"] == proof.IDENTICAL})

    @property
    def in_mid_epoch(self) -> int:
        """Number of attempts that were resumed from a checkpoint within an epoch."""
        return sum(self._within(r) for r in self.resumed)

    @property
    def resumes(self) -> int:
        """Number of attempts that were resumed from a step above zero."""
        return sum(r["checkpoint"] is not None and r["step"] > 0 for r in self.resumed)

    def _within(self, receipt: dict[str, Any]) -> bool:
        ended = {
            e["step"]
            for e in journal.replay(self.run.journal).entries
            if e["kind"] == "epoch_ended"
        }
        return (
            receipt["checkpoint"] is not None
            and receipt["step"] > 0
            and receipt["step"] not in ended
        )


class Lives:
    """Create a run directory for ``script``, and run attempts of it."""

    def __init__(
        self,
        root: Path,
        script: Path,
        *,
        args: list[str] | None = None,
        seed: int = 7,
        policy: CheckpointPolicy | None = None,
        env: dict[str, str] | None = None,
        grace: float = 60.0,
        cold: bool = False,
        spares: bool = False,
    ) -> None:
        self.run = Run(root / "run")
        self.work = root / "work"
        for folder in (self.run.root, self.work, self.run.logs, self.run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.job = Job(
            name="lives",
            id="lives-1",
            workdir=str(self.work),
            script=str(script),
            args=args or [],
            seed=seed,
            env=env or {},
            limits=Limits(stop_grace=grace),
            checkpoint=policy or CheckpointPolicy(every_steps=7),
        )
        self.write()
        self.attempt = 0
        # a new interpreter for each attempt: several seconds more, see warm.py
        self.cold = cold
        # each attempt but the first begins in a warm spare, where the script gets one
        self.spares = spares
        self.no_spare = ""
        self.keeper: subprocess.Popen[bytes] | warm.Process | None = None

    def copy(self, root: Path) -> "Lives":
        """Copy the run with its state to another folder."""
        shutil.copytree(self.run.root, root / "run", symlinks=True)
        shutil.copytree(self.work, root / "work")
        made = Lives(
            root,
            Path(self.job.script or ""),
            args=list(self.job.args),
            seed=self.job.seed,
            policy=self.job.checkpoint,
            env=dict(self.job.env),
            grace=self.job.limits.stop_grace,
            cold=self.cold,
        )
        made.attempt = self.attempt
        return made

    def change(self, **changes: Any) -> None:
        """Change the spec for the attempts that follow."""
        self.job = self.job.replace(**changes)
        self.write()

    def write(self) -> None:
        durable.write_bytes(self.run.job_file, self.job.to_json().encode(), 0o600)

    def start(
        self,
        blow: "Blow | None" = None,
        report: Path | None = None,
        *,
        fault: str = "",
        crash_point: str = "",
    ) -> None:
        """Start the next attempt, with a blow that hits it from within.

        Args:
            report: file in which the blow reports where it hit.
            fault: makes the engine wrong; see `tests/support/strike/faults.py`.
            crash_point: of `rekindle.state.crash_points`, with count and file.
        """
        self.attempt += 1
        lock = os.open(self.run.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = environment()
        # with the module that carries out blows
        env["PYTHONPATH"] = f"{ROOT / '.importroot'}:{ROOT / 'tests' / 'support' / 'strike'}"
        if other := os.environ.get("REKINDLE_CRASH_KERAS"):
            env["PYTHONPATH"] += f":{other}"
        if blow is not None and blow.place != "early":
            assert report is not None
            env["STRIKE"] = blow.as_json(report)
        if fault:
            env["STRIKE_FAULT"] = fault
        if crash_point:
            env[crash_points.VARIABLE] = crash_point
        argv = bootstrap.command(
            sys.executable,
            "rekindle.jobs.keeper.main",
            str(self.run.root),
            str(self.attempt),
            str(lock),
            options=("-I", "-S"),
        )
        if self.spares and self.attempt > 1 and self._stand_by(env, lock):
            pass
        elif self._warm(blow):
            self.keeper = warm.start(argv, env, (lock,))
        else:
            self.keeper = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=env,
                pass_fds=(lock,),
            )
        os.close(lock)

    def _stand_by(self, env: dict[str, str], lock: int) -> bool:
        """Start a spare, wait for it, and give it the attempt; False if the script gets none."""
        standbys, before = Standbys(), dict(os.environ)
        os.environ.clear()
        os.environ.update(env)
        try:
            standbys.start(self.run, self.attempt, None)
        finally:
            os.environ.clear()
            os.environ.update(before)
        while not (said := standbys.look()):
            time.sleep(0.02)
        self.no_spare = said[self.run.id] or ""
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            self.keeper = standbys.take(self.run, self.attempt, None, (null, lock))
        finally:
            os.close(null)
        return self.keeper is not None

    def _warm(self, blow: "Blow | None") -> bool:
        """Return whether the attempt may be forked from a warm interpreter."""
        return not (
            self.cold
            or self.job.env
            or self.job.seed != warm.HASH_SEED
            or (blow is not None and blow.place == "early")
        )

    def trainer(self) -> Identity | None:
        """Return the trainer of the current attempt; None before it has started."""
        for entry in self.entries("attempt_started"):
            if entry["attempt"] == self.attempt:
                return Identity(entry["trainer_pid"], entry["trainer_start"], entry["boot_id"])
        return None

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in journal.replay(self.run.journal).entries if e["kind"] in kinds]

    def wait(self, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until the attempt has ended; return its end as journalled."""
        assert self.keeper is not None
        self.keeper.wait(seconds)
        ended = [e for e in self.entries("attempt_ended") if e["attempt"] == self.attempt]
        if ended:
            return ended[-1]
        # the keeper was killed: the lock is free once the trainer has ended, too
        with self.run.lock.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        return {"cause": "lost", "attempt": self.attempt}

    def until(self, probe: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Poll until ``probe`` is true or the attempt has ended; return its last result."""
        assert self.keeper is not None
        end = time.monotonic() + seconds
        while True:
            found = probe()
            if found or self.keeper.poll() is not None:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"timed out: {self.log()}")
            time.sleep(0.01)

    def kill(self, signum: int) -> bool:
        """Send the trainer a signal; False if it has ended."""
        trainer = self.trainer()
        return trainer is not None and trainer.send(signum)

    def log(self) -> str:
        """Return the last lines of the newest log."""
        path = self.run.log(self.attempt)
        return path.read_text()[-3000:] if path.exists() else "(no log)"

    def result(self) -> Result:
        ends = [e["cause"] for e in self.entries("attempt_ended")]
        last = {(p["attempt"], p["stage"]): p for p in self.entries("proved")}
        return Result(
            self.run, ends, self.entries("resumed"), digests(self), proofs=[*last.values()]
        )

    def close(self) -> None:
        if self.keeper is not None and self.keeper.poll() is None:
            self.kill(signal.SIGKILL)
            self.keeper.kill()
            self.keeper.wait()


@dataclass(frozen=True)
class Blow:
    """Describe one signal at one place; `tests/support/strike` sends it inside the trainer.

    Attributes:
        place: ``step`` (between two), ``batch`` (within one), ``validation``, ``compile``, a
            crash point of a checkpoint's commit, ``before the line KIND`` of the journal, or
            ``in flight``: a checkpoint is being written while the training continues. What was
            saved before a ``step`` or ``batch`` is on disk.
        count: the 1-based occurrence; for steps: the number after the start of the attempt.
        keeper: the signal is sent to the keeper, which forwards SIGTERM, and whose death
            ends the trainer.
        delay: seconds into the batch, or into the write.
        seconds: for the place ``early``: seconds after the start, sent from outside.
    """

    place: str
    count: int = 1
    signum: int = signal.SIGKILL
    keeper: bool = False
    delay: float = 0.0
    seconds: float = 0.0

    def as_json(self, report: Path) -> str:
        return json.dumps(
            {
                "place": self.place,
                "count": self.count,
                "signal": int(self.signum),
                "keeper": self.keeper,
                "delay": self.delay,
                "report": str(report),
            }
        )

    def __str__(self) -> str:
        return f"{signal.Signals(self.signum).name}{' to the keeper' if self.keeper else ''}"


COMMIT = (
    "before_write",
    "in_write",
    "before_digest",
    "before_manifest",
    "before_rename",
    "before_folder_fsync",
    "before the line checkpoint_committed",
    "after the line checkpoint_committed",
    "before the line checkpoint_pruned",
)


def within(dice: random.Random) -> Blow:
    """Choose a blow within training, after a checkpoint of this attempt."""
    signum = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    place, steps = dice.choice(["step", "batch", "batch"]), dice.randint(6, 16)
    if signum == signal.SIGTERM:
        # SIGTERM saves at the step of the blow or the next: not at the end of an epoch of 9, 12 or
        # 14 steps, from which a resume would prove nothing about mid-epoch
        steps = min((6, 7, 10, 16), key=lambda safe: abs(safe - steps))
    return Blow(place, steps, signum, keeper=dice.random() < 0.3, delay=dice.uniform(0, 0.004))


def anywhere(dice: random.Random, *, validation: bool) -> Blow:
    """Choose a blow at any place."""
    signum = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
    kinds = ["within", "commit", "commit", "journal", "early", "compile", "epoch", "in flight"]
    kind = dice.choice([*kinds, "validation", "validation"] if validation else kinds)
    keeper = dice.random() < 0.2
    if kind == "within":
        return Blow(
            dice.choice(["step", "batch", "batch"]),
            dice.randint(1, 20),
            signum,
            keeper=keeper,
            delay=dice.uniform(0, 0.004),
        )
    if kind in ("commit", "journal"):
        places = COMMIT[:6] if kind == "commit" else COMMIT[6:]
        return Blow(dice.choice(places), dice.randint(1, 4), signum, keeper=keeper)
    if kind == "epoch":
        line = dice.choice(["before", "after"])
        return Blow(f"{line} the line epoch_ended", dice.randint(1, 2), signum)
    if kind == "in flight":
        delay = dice.uniform(0, 0.01)
        return Blow(kind, dice.randint(1, 4), signum, keeper=keeper, delay=delay)
    if kind == "early":
        return Blow("early", 1, signum, seconds=dice.uniform(0.05, 3.0))
    return Blow(kind, 1 if kind == "compile" else dice.randint(1, 4), signum, keeper=keeper)


def proved_after(fault: str, lives: Lives, blow: "Blow") -> list[str]:
    """Run an attempt with a fault up to a blow, and one without; return the results of proofs."""
    report = lives.run.root / "report.jsonl"
    lives.start(blow, report, fault=fault)
    lives.wait(300)
    assert report.exists(), lives.log()
    lives.start()
    lives.wait(300)
    return [one["result"] for one in lives.entries("proved")]


def undisturbed(lives: Lives) -> Result:
    """Run one attempt to the end."""
    lives.start()
    end = lives.wait(300)
    assert end["cause"] == "done", lives.log()
    return lives.result()


def stormy(lives: Lives, blows: Iterable[Blow]) -> Result:
    """Run an attempt for each blow, then undisturbed ones until the script is done."""
    report = lives.run.root / "report.jsonl"
    hits: list[str] = []
    blow: Blow | None = None
    plan = iter(blows)
    while True:
        assert lives.attempt < MAX_LIVES, "it does not end"
        blow = next(plan, None)
        lives.start(blow, report)
        if blow is not None and blow.place == "early":
            end = time.monotonic() + blow.seconds
            # on a busy machine the trainer starts later than the blow was meant to fall
            lives.until(lambda until=end: time.monotonic() > until and lives.trainer())
            if lives.kill(blow.signum):
                hits.append(f"{blow} {blow.seconds:.1f} s after the start")
        before = len(hits)
        end = lives.wait(300)
        if report.exists():
            line = json.loads(report.read_text())
            report.unlink()
            hits.append(f"{blow} {line['place']} (epoch {line['epoch']}, step {line['step']})")
        if end["cause"] == "done":
            result = lives.result()
            result.kills = hits
            said = [*lives.entries("resumed"), *lives.entries("warned")]
            # a false alarm: no storm makes the engine wrong
            assert "is not that of the checkpoint" not in json.dumps(said), said
            return result
        # only a blow may have ended the attempt
        assert len(hits) > before or (blow is not None and blow.place == "early"), lives.log()
        assert end["cause"] in ("preempted", "crash", "lost"), lives.log()
        assert end["cause"] != "crash" or end["signal"] is not None, lives.log()


def digests(lives: Lives) -> dict[str, str]:
    """Digest what must be equal: every array and number of the final state, the user's files."""
    found: dict[str, str] = {}
    for checkpoint in checkpoints.scan(lives.run.checkpoints):
        if not checkpoint.position.end:
            continue
        arrays, metadata = tensors.load(checkpoint.state)
        for name, array in arrays.items():
            found[f"{checkpoint.name}:{name}"] = _digest(array)
        state = json.loads(metadata["state"])
        for _, kept in state.get("callbacks", []):  # a loop has none
            kept.pop("files", None)  # TensorBoard's event files are named by time and pid
        for key in (
            "position",
            "callbacks",
            "stop_training",
            "logs",
            "iterator",
            "evals",
            "variables",
            "loop",
            "state",
        ):
            found[f"{checkpoint.name}:{key}"] = hashlib.sha256(
                json.dumps(state.get(key), sort_keys=True).encode()
            ).hexdigest()
    for file in sorted(lives.work.rglob("*")):
        if file.is_file() and file.suffix in (".csv", ".txt", ".npz", ".json"):
            found[f"file:{file.relative_to(lives.work)}"] = _file_digest(file)
    epochs: dict[tuple[int, int], Any] = {}
    for entry in lives.entries("epoch_ended"):
        epochs[entry["stage"], entry["epoch"]] = (entry["step"], entry["logs"])
    for where, what in epochs.items():
        found[f"epoch:{where}"] = repr(what)
    # a proof that reports a difference in a run without one is a false alarm
    for entry in lives.entries("proved"):
        if entry["result"] == proof.DIFFERENT:
            found[f"proof of attempt {entry['attempt']}"] = proof.words(entry)
    return found


def _digest(array: np.ndarray[Any, Any]) -> str:
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """List the names of what differs between two runs."""
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
