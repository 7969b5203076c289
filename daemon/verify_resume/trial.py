"""Train once in a scratch home, through the real keeper, undisturbed or with kills.

Run directory, keeper and trainer are those of every job; a loop that starts the next attempt
as soon as the last one has ended replaces the daemon.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.attempts import orphans
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.verdict import outcome
from rekindle.daemon.verify_resume import repeated_steps
from rekindle.daemon.verify_resume.repeated_steps import RepeatedSteps
from rekindle.jobs import environment, heartbeat
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.process import Identity
from rekindle.state import durable
from rekindle.state.counted import counted
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, entries, journal
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.entries import Entry, Kind

_POLL_S: Final = 0.002
_MORE_LIVES: Final = 20
_CLOSE_S: Final = 10.0
_PLACES: Final = {"save": ", writing a checkpoint", "validation": ", in validation"}
_UNTRAINED: Final = ("start", "script", heartbeat.ENDED)


class ScriptFailed(RekindleError):
    """Report that the script failed without a kill, which proves nothing about a resume."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Kill:
    """One planned kill.

    Attributes:
        step: the batches trained in the whole run when the signal is sent.
        signum: SIGKILL or SIGTERM.
        place: ``step``, or ``save`` to wait for the next write of a checkpoint.
    """

    step: int
    signum: int
    place: str = "step"


@dataclass(frozen=True, slots=True)
class Training:
    """The result of one training.

    Attributes:
        workdir: its working directory.
        end: the checkpoint at which it was ended early, None if it ran to its end.
        seconds: the time of all attempts.
        start_seconds: the time from the start of the first attempt to its first step.
        hits: a description of each kill.
        receipts: ``resumed`` entries of the journal, one for each attempt that trained.
        failure: the error of an attempt that ended without a kill; empty for a good end.
    """

    run: Run
    workdir: Path
    end: Position | None = None
    seconds: float = 0.0
    start_seconds: float = 0.0
    hits: tuple[str, ...] = ()
    receipts: tuple[Entry, ...] = ()
    failure: dict[str, Any] = field(default_factory=dict)

    def entries(self, kind: Kind[...]) -> list[Entry]:
        """List the journal's entries of a kind."""
        return _entries(self.run, kind)

    @property
    def steps(self) -> int:
        """Count the batches trained in the whole run."""
        if self.end is not None:
            return self.end.step
        found = checkpoints.scan(self.run.checkpoints)
        return max((c.position.step for c in found), default=0)

    @property
    def resumed(self) -> list[Entry]:
        """List the receipts of attempts that began above step zero."""
        return [r for r in self.receipts if r.get("checkpoint") and r.get("step")]

    @property
    def set_back(self) -> Path:
        """The folder of the checkpoints that :meth:`Trial.overlapped` moved away."""
        return self.run.root / "set_back"

    @property
    def repeated(self) -> RepeatedSteps:
        """Read what the steps that its attempts repeated showed."""
        return repeated_steps.of(journal.replay(self.run.journal).entries)

    @property
    def in_mid_epoch(self) -> int:
        """Count the attempts that began within an epoch."""
        ends = {(e["stage"], e["step"]) for e in self.entries(entries.epoch_ended)}
        return sum((r["stage"], r["step"]) not in ends for r in self.resumed)


def plan(count: int, steps: int, seed: int) -> list[Kill]:
    """Spread kills over a training, two of three by SIGKILL.

    Args:
        steps: batches of the whole training.
        seed: equal seeds give equal plans.
    """
    rng = random.Random(seed)
    places = sorted(rng.randint(1, max(steps - 1, 1)) for _ in range(count))
    return [
        Kill(
            step,
            rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
            rng.choice(("step", "step", "step", "save")),
        )
        for step in places
    ]


class Trial:
    """Hold a run directory in a scratch home, and train in it once.

    Args:
        job: an accepted job with an id; it trains in its ``workdir``.
        until: the checkpoint at which the training ends; None for the end of the script.
    """

    def __init__(
        self, home: Home, job: Job, *, policy: CheckpointPolicy, until: Position | None = None
    ) -> None:
        self._run = home.run(job.id)
        for folder in (self._run.root, self._run.logs, self._run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        env = {**job.env, environment.UNTIL: until.name} if until else job.env
        job = job.replace(env=env, checkpoint=policy)
        durable.write_bytes(self._run.job_file, job.to_json().encode(), 0o600)
        self._workdir = Path(job.workdir)
        self._until = until
        self._launcher = Launcher()
        self._attempts: list[_Attempt] = []
        self._began = time.monotonic()

    def undisturbed(self, *, enough: float | None = None) -> Training:
        """Train in one attempt, to the end or for ``enough`` seconds of steps.

        Raises:
            ScriptFailed: the script ended with an error.
        """
        try:
            attempt = self._start()
            begun = attempt.wait_for(attempt.beat)
            start_seconds = time.monotonic() - self._began
            if begun and enough is not None:
                limit = time.monotonic() + enough
                attempt.wait_for(lambda: time.monotonic() > limit and self._newest() is not None)
                if attempt.is_alive():
                    attempt.kill()
                    attempt.wait()
                    return self._training(self._newest(), start_seconds=start_seconds)
            end = attempt.wait()
        finally:
            self.close()
        if not self._is_good(end):
            raise ScriptFailed(
                f"The script failed without a kill: {attempt.failure().get('message')}",
                where=self._run.log(attempt.number),
                hint="Read the log, and correct the script first.",
            )
        return self._training(self._until, start_seconds=start_seconds)

    def killed(self, kills: Sequence[Kill]) -> Training:
        """Train with kills, each of them followed by the next attempt."""
        planned, hits = list(kills), list[str]()
        try:
            while len(self._attempts) < len(kills) + _MORE_LIVES:
                attempt = self._start()
                hit = None
                if planned and attempt.wait_for(attempt.beat):
                    hit = attempt.strike(planned.pop(0))
                end = attempt.wait()
                if hit is not None:
                    hits.append(hit)
                if self._is_good(end):
                    return self._training(self._until, hits=hits)
                if hit is None:
                    failure = {
                        **attempt.failure(),
                        "attempt": attempt.number,
                        "cause": end["cause"],
                    }
                    return self._training(self._until, hits=hits, failure=failure)
        finally:
            self.close()
        failure = {
            "message": "The training did not end within "
            f"{counted(len(self._attempts), 'attempt')}.",
            "attempt": len(self._attempts),
            "cause": "endless",
        }
        return self._training(self._until, hits=hits, failure=failure)

    def overlapped(self, before: int) -> Training:
        """Train to ``until``, and there once more from an earlier checkpoint.

        Args:
            before: the step before which that checkpoint lies.
        """
        failure: dict[str, Any] = {}
        try:
            for again in (False, True):
                if again:
                    self._set_back(before)
                attempt = self._start()
                if not self._is_good(attempt.wait()):
                    failure = {**attempt.failure(), "attempt": attempt.number}
                    break
        finally:
            self.close()
        return self._training(self._until, failure=failure)

    def _set_back(self, before: int) -> None:
        """Move away the checkpoints that are not before a step."""
        folder = self._run.root / "set_back"
        folder.mkdir()
        for found in checkpoints.scan(self._run.checkpoints):
            if found.position.step >= before:
                found.path.rename(folder / found.name)

    def close(self) -> None:
        """End a running attempt, by SIGKILL if its keeper does not react."""
        began = time.monotonic()
        while self._attempts and self._attempts[-1].is_alive():
            if time.monotonic() - began > _CLOSE_S:
                orphans.kill(orphans.of(self._run))
            self._attempts[-1].kill()
            time.sleep(0.05)

    def _start(self) -> "_Attempt":
        attempt = _Attempt(self._run, len(self._attempts) + 1, self._launcher)
        self._attempts.append(attempt)
        self._launcher.start(self._run, attempt.number)
        return attempt

    def _newest(self) -> Position | None:
        """Find the newest good checkpoint that is neither the start nor the end of a stage."""
        for found in checkpoints.scan(self._run.checkpoints):
            at = found.position
            if at.step and not at.end and checkpoints.verify(found) is None:
                return at
        return None

    def _is_good(self, end: Entry) -> bool:
        """Return whether the attempt finished the script, or saved and ended at ``until``."""
        if end["cause"] == "done":
            return True
        until, newest = self._until, self._newest()
        return (
            until is not None
            and newest is not None
            and newest >= until
            and end["exit_code"] == environment.EXIT_SAVED
        )

    def _training(
        self,
        end: Position | None,
        *,
        start_seconds: float = 0.0,
        hits: Sequence[str] = (),
        failure: dict[str, Any] | None = None,
    ) -> Training:
        return Training(
            run=self._run,
            workdir=self._workdir,
            end=end,
            seconds=time.monotonic() - self._began,
            start_seconds=start_seconds,
            hits=tuple(hits),
            receipts=tuple(_entries(self._run, entries.resumed)),
            failure=failure or {},
        )


class _Attempt:
    """Follow and kill one attempt."""

    def __init__(self, run: Run, number: int, launcher: Launcher) -> None:
        self.number = number
        self._run = run
        self._launcher = launcher
        self._trains = False

    def is_alive(self) -> bool:
        return self._launcher.alive(self._run)

    def wait_for(self, probe: Callable[[], Any]) -> bool:
        """Wait until ``probe`` is true; return False if the attempt ended before."""
        looked = 0.0
        while not probe():
            now = time.monotonic()
            if now - looked > 0.1:
                if not self.is_alive():
                    return bool(probe())
                looked = now
            time.sleep(_POLL_S)
        return True

    def wait(self) -> Entry:
        """Wait for the end, and return its journal entry."""
        while self.is_alive():
            time.sleep(0.02)
        for entry in reversed(_entries(self._run, entries.attempt_ended)):
            if entry["attempt"] == self.number:
                # a signal handler of the script may turn the kill into exit code 0
                facts = outcome.read(journal.replay(self._run.journal).entries, self.number)
                return {**entry, "cause": facts.cause}
        return {"cause": "lost", "exit_code": None, "signal": None}

    def beat(self) -> heartbeat.Beat | None:
        """Read the position of the attempt; None before its first step."""
        beat = heartbeat.read(self._run.heartbeat)
        if beat is None or beat.attempt != self.number or beat.section in _UNTRAINED:
            return None
        if not self._trains:
            receipts = _entries(self._run, entries.resumed)
            self._trains = any(e["attempt"] == self.number for e in receipts)
        return beat if self._trains else None

    def strike(self, kill: Kill) -> str | None:
        """Kill an attempt at the planned point; say where, or return None if it ended before."""
        first = self.beat()
        # at least one step for each attempt, otherwise the training would never end
        step = max(kill.step, first.step + 1 if first else 0)

        def is_reached() -> bool:
            beat = self.beat()
            return (
                beat is not None
                and beat.step >= step
                and (kill.place != "save" or beat.section == "save")
            )

        if not self.wait_for(is_reached):
            return None
        beat, trainer = self.beat(), self._trainer()
        if beat is None or trainer is None or not trainer.send(kill.signum):
            return None
        return (
            f"{signal.Signals(kill.signum).name} in epoch {beat.epoch + 1}, at step {beat.step}"
            f"{_PLACES.get(beat.section, '')}"
        )

    def kill(self) -> None:
        trainer = self._trainer()
        if trainer is not None:
            trainer.send(signal.SIGKILL)

    def failure(self) -> dict[str, Any]:
        """Find the error of the attempt."""
        for entry in reversed(_entries(self._run, entries.failed)):
            if entry["attempt"] == self.number:
                return dict(entry)
        return {"message": f"see {self._run.log(self.number)}", "error_type": "", "traceback": ""}

    def _trainer(self) -> Identity | None:
        for entry in _entries(self._run, entries.attempt_started):
            if entry["attempt"] == self.number and entry["trainer_start"] is not None:
                return Identity(entry["trainer_pid"], entry["trainer_start"], entry["boot_id"])
        return None


def _entries(run: Run, kind: Kind[...]) -> list[Entry]:
    return list(kind.among(journal.replay(run.journal).entries))
