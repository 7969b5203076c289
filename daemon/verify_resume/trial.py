"""One training in a scratch home, through the real keeper, left in peace or killed on the way.

The run directory, keeper and trainer are those of every job; only the daemon's place is
taken by a loop that starts the next attempt as soon as the last one has ended.
"""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.attempts import orphans
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.verdict import outcome
from rekindle.jobs import environment, heartbeat
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.process import Identity
from rekindle.state import durable
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Position

_POLL_S: Final = 0.002
_MORE_LIVES: Final = 20
_CLOSE_S: Final = 10.0


class ScriptFailed(RekindleError):
    """The script ended by itself with an error, so that nothing can be said about resuming."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Blow:
    """One planned kill.

    Attributes:
        step: batches trained in the whole run at which it comes.
        signum: SIGKILL or SIGTERM.
        place: ``step``, or ``save`` for the write of the next checkpoint after it.
    """

    step: int
    signum: int
    place: str = "step"


@dataclass(slots=True)
class Training:
    """What one training came to.

    Attributes:
        workdir: where it ran.
        end: the checkpoint at which it was cut short, or None where it ran to its end.
        seconds: over all attempts.
        start_seconds: from the start of an attempt to its first step, of the first attempt.
        hits: where each kill hit, in words.
        receipts: ``resumed`` entries of the journal, one for each attempt that trained.
        failure: what ended an attempt that nobody had killed; empty for a good end.
    """

    run: Run
    workdir: Path
    end: Position | None = None
    seconds: float = 0.0
    start_seconds: float = 0.0
    hits: list[str] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    failure: dict[str, Any] = field(default_factory=dict)

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in journal.replay(self.run.journal).entries if e["kind"] in kinds]

    @property
    def steps(self) -> int:
        """Batches trained in the whole run."""
        if self.end is not None:
            return self.end.step
        found = checkpoints.scan(self.run.checkpoints)
        return max((c.position.step for c in found), default=0)

    @property
    def went_on(self) -> list[dict[str, Any]]:
        """Receipts of the attempts that began above step zero."""
        return [r for r in self.receipts if r.get("checkpoint") and r.get("step")]

    @property
    def in_mid_epoch(self) -> int:
        """How many attempts began within an epoch."""
        ends = {(e["stage"], e["step"]) for e in self.entries("epoch_ended")}
        return sum((r["stage"], r["step"]) not in ends for r in self.went_on)


def plan(kills: int, steps: int, seed: int) -> list[Blow]:
    """Where the kills come: spread over the training, two of three by SIGKILL.

    Args:
        steps: batches of the whole training.
        seed: equal seeds give equal plans.
    """
    dice = random.Random(seed)
    places = sorted(dice.randint(1, max(steps - 1, 1)) for _ in range(kills))
    return [
        Blow(
            step,
            dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
            dice.choice(("step", "step", "step", "save")),
        )
        for step in places
    ]


class Rehearsal:
    """A run directory in a scratch home, and the trainings that are done in it.

    Args:
        job: as accepted, with an id; its ``workdir`` is trained in as it is.
    """

    def __init__(
        self, home: Home, job: Job, *, policy: CheckpointPolicy, until: Position | None = None
    ) -> None:
        self.run = home.run(job.id)
        for folder in (self.run.root, self.run.logs, self.run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        env = {**job.env, environment.UNTIL: until.name} if until else job.env
        job = job.replace(env=env, checkpoint=policy)
        durable.write_bytes(self.run.job_file, job.to_json().encode(), 0o600)
        self._launcher = Launcher()
        self._attempt = 0
        self._began = time.monotonic()
        self._training = Training(self.run, Path(job.workdir), until)

    def undisturbed(self, *, enough: float | None = None) -> Training:
        """Trains in one attempt, to the end or until ``enough`` seconds have gone into steps.

        Raises:
            ScriptFailed: the script ended with an error.
        """
        try:
            self._start()
            begun = self._await(self._beats)
            self._training.start_seconds = time.monotonic() - self._began
            if begun and enough is not None:
                limit = time.monotonic() + enough
                self._await(lambda: time.monotonic() > limit and self._newest() is not None)
                if self._alive():
                    self._cut_short()
                    return self._done()
            end = self._wait()
        finally:
            self.close()
        if end["cause"] != "done" and not self._is_at_the_end(end):
            raise ScriptFailed(
                f"The script failed without being disturbed: {self._failure().get('message')}",
                where=self.run.log(self._attempt),
                hint="Mend the script first; its log is there.",
            )
        return self._done()

    def killed(self, blows: list[Blow]) -> Training:
        """Trains with kills in between, each of them followed by the next attempt."""
        left = list(blows)
        try:
            while self._attempt < len(blows) + _MORE_LIVES:
                self._start()
                struck = self._strike(left)
                end = self._wait()
                if end["cause"] == "done" or self._is_at_the_end(end):
                    return self._done()
                if not struck:
                    self._training.failure = {
                        **self._failure(),
                        "attempt": self._attempt,
                        "cause": end["cause"],
                    }
                    return self._done()
        finally:
            self.close()
        self._training.failure = {
            "message": "It did not come to an end.",
            "attempt": self._attempt,
            "cause": "endless",
        }
        return self._done()

    def close(self) -> None:
        """Ends what still runs; a keeper that does not answer as well."""
        began = time.monotonic()
        while self._alive():
            if time.monotonic() - began > _CLOSE_S:
                orphans.kill(orphans.of(self.run))
            trainer = self._trainer()
            if trainer is not None:
                trainer.send(signal.SIGKILL)
            time.sleep(0.05)

    # one attempt

    def _start(self) -> None:
        self._attempt += 1
        self._launcher.start(self.run, self._attempt)

    def _alive(self) -> bool:
        return self._attempt > 0 and self._launcher.alive(self.run)

    def _await(self, probe: Callable[[], Any]) -> bool:
        """Until ``probe`` is true; False where the attempt has ended before."""
        looked = 0.0
        while not probe():
            now = time.monotonic()
            if now - looked > 0.1:
                if not self._alive():
                    return bool(probe())
                looked = now
            time.sleep(_POLL_S)
        return True

    def _wait(self) -> dict[str, Any]:
        """The end of the attempt, as journalled."""
        while self._alive():
            time.sleep(0.02)
        for entry in reversed(self._training.entries("attempt_ended")):
            if entry["attempt"] == self._attempt:
                # a handler of the script's own may have taken the blow for a good end
                facts = outcome.read(journal.replay(self.run.journal).entries, self._attempt)
                return {**entry, "cause": facts.cause}
        return {"cause": "lost", "exit_code": None, "signal": None}

    def _strike(self, left: list[Blow]) -> bool:
        """Carries out the next blow in this attempt; False where there is none or it ended."""
        if not left:
            return False
        if not self._await(self._beats):
            return False
        first = self._beats()
        assert first is not None
        blow = left.pop(0)
        # never at once: each attempt is to get somewhere
        step = max(blow.step, first.step + 1)

        def there() -> heartbeat.Beat | None:
            beat = self._beats()
            return (
                beat
                if beat and beat.step >= step and (blow.place != "save" or beat.section == "save")
                else None
            )

        if not self._await(there):
            return False
        beat, trainer = self._beats(), self._trainer()
        if beat is None or trainer is None or not trainer.send(blow.signum):
            return False
        where = {"save": ", writing a checkpoint", "validation": ", in validation"}
        self._training.hits.append(
            f"{signal.Signals(blow.signum).name} in epoch {beat.epoch}, at step {beat.step}"
            f"{where.get(beat.section, '')}"
        )
        return True

    def _beats(self) -> heartbeat.Beat | None:
        """Where the attempt is, once it trains."""
        beat = heartbeat.read(self.run.heartbeat)
        if (
            beat is None
            or beat.attempt != self._attempt
            or beat.section in ("start", "script", heartbeat.ENDED)
        ):
            return None
        trains = any(e["attempt"] == self._attempt for e in self._receipts_cached())
        return beat if trains else None

    def _receipts_cached(self) -> list[dict[str, Any]]:
        if not any(e["attempt"] == self._attempt for e in self._training.receipts):
            self._training.receipts = self._training.entries("resumed")
        return self._training.receipts

    def _trainer(self) -> Identity | None:
        for entry in self._training.entries("attempt_started"):
            if entry["attempt"] == self._attempt and entry["trainer_start"] is not None:
                return Identity(entry["trainer_pid"], entry["trainer_start"], entry["boot_id"])
        return None

    # its end

    def _newest(self) -> Position | None:
        """The newest good checkpoint that is neither a start nor the end of a stage."""
        for found in checkpoints.scan(self.run.checkpoints):
            if (
                found.position.step
                and not found.position.end
                and (checkpoints.verify(found) is None)
            ):
                return found.position
        return None

    def _cut_short(self) -> None:
        trainer = self._trainer()
        if trainer is not None:
            trainer.send(signal.SIGKILL)
        self._wait()
        self._training.end = self._newest()

    def _is_at_the_end(self, end: dict[str, Any]) -> bool:
        """It saved and ended where it was told to."""
        until, newest = self._training.end, self._newest()
        return (
            until is not None
            and newest is not None
            and newest >= until
            and end["exit_code"] == environment.EXIT_SAVED
        )

    def _failure(self) -> dict[str, Any]:
        for entry in reversed(self._training.entries("failed")):
            if entry["attempt"] == self._attempt:
                return dict(entry)
        return {"message": "The log tells.", "error_type": "", "traceback": ""}

    def _done(self) -> Training:
        self._training.receipts = self._training.entries("resumed")
        self._training.seconds = time.monotonic() - self._began
        return self._training
