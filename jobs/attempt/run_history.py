"""History of a run: progress of earlier attempts, read from the journal."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rekindle.jobs.evidence.earlier import EarlierProofs
from rekindle.jobs.heartbeat import Beat
from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.saving import cadence
from rekindle.jobs.saving.cadence import Costs, Save
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.run import proof
from rekindle.state.run.checkpoints import Checkpoint
from rekindle.state.run.summary import OF_DAEMON

_NO_FAILURE: Final = frozenset({"done", "preempted", "permanent"})
"""Causes of ends before which everything was saved, or after which nothing is repeated."""


@dataclass(frozen=True, slots=True)
class Span:
    """Hold a time in which an attempt was in one stage, in Unix seconds.

    It begins with a receipt and ends with the next one, or the attempt's last entry or heartbeat.
    """

    stage: int
    since: float
    until: float


@dataclass(slots=True)
class RunHistory:
    """Collect what earlier attempts of a run reached.

    Attributes:
        reached: the furthest step of the whole run, from the last heartbeat and recorded ends.
        committed: names of checkpoints that should exist, since the last start from scratch.
        left: stages that did not end although a later one began: an exception left them.
        begun: the step at which each stage began.
        last: the last stage that was trained; -1 if there was none.
        unfollowed: messages of earlier attempts about training that is not saved.
        failures: ends of attempts that could not save first.
        seconds: how long all earlier attempts ran together.
        saves: the checkpoints that exist, by name, with their stages.
        passed_over: names of checkpoints in place of which an attempt resumed from an older one.
        cut_off: the last attempt that trained could not save before its end, and has not resumed
            in that way.
        pace: seconds of a step by the last heartbeat; None if unknown.
        proofs: what the proofs of earlier attempts found.
    """

    reached: int = 0
    committed: set[str] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    last: int = -1
    spans: list[Span] = field(default_factory=list)
    unfollowed: list[str] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0
    saves: dict[str, tuple[int, Save]] = field(default_factory=dict)
    passed_over: set[str] = field(default_factory=set)
    cut_off: bool = False
    pace: float | None = None
    proofs: EarlierProofs = EarlierProofs()  # noqa: RUF009  frozen

    @classmethod
    def of(cls, entries: list[dict[str, Any]], attempt: int, beat: Beat | None) -> "RunHistory":
        """Read the history before an attempt.

        Args:
            entries: the whole journal.
            attempt: number of the attempt that begins now.
            beat: the last heartbeat of an earlier attempt.
        """
        step, pace = (0, None) if beat is None else (beat.step, beat.pace)
        past = cls(step, spans=spans(entries, attempt, beat), pace=pace)
        past._read(entries)
        past._reach(entries, attempt)
        past._count_lost(entries, attempt, beat)
        past._look_at_last(entries, attempt)
        return past

    @property
    def between(self) -> float:
        """Mean time between two failures, in seconds."""
        return cadence.time_between(self.failures, self.seconds)

    def save_policy(self, stage: int, policy: CheckpointPolicy) -> SavePolicy:
        """Make the save policy of a stage, with failures and costs of earlier attempts."""
        costs = Costs.of([save for of, save in self.saves.values() if of == stage])
        return SavePolicy(policy, self.between, costs=costs)

    def _reach(self, entries: list[dict[str, Any]], attempt: int) -> None:
        """Find the furthest step of earlier attempts that were in the same stage as the last."""
        stage_of: dict[object, int] = {}
        for entry in entries:
            kind, number = entry["kind"], entry.get("attempt")
            if kind == "resumed":
                stage_of[number] = entry.get("stage") or 0
            elif kind == "scratch_requested":
                stage_of.clear()
            step = entry.get(
                {"attempt_ended": "at_step", "attempt_changed": "to_step"}.get(kind, "")
            )
            if isinstance(step, int) and number != attempt and stage_of.get(number) == self.last:
                self.reached = max(self.reached, step)

    def _count_lost(self, entries: list[dict[str, Any]], attempt: int, beat: Beat | None) -> None:
        """Count attempts whose keeper ended with them, e.g. by a power cut, as failures."""
        began: dict[int, float] = {}
        until: dict[int, float] = {}
        for entry in entries:
            kind, number = entry["kind"], entry.get("attempt")
            if not isinstance(number, int) or number >= attempt:
                continue
            if kind == "attempt_started" and entry.get("keeper_pid") is not None:
                began[number] = entry["t"]
            elif kind == "attempt_ended":
                began.pop(number, None)
            if kind not in OF_DAEMON:
                until[number] = entry["t"]
        if beat is not None and beat.attempt in until:
            until[beat.attempt] = max(until[beat.attempt], beat.at)
        self.failures += len(began)
        self.seconds += sum(max(until[number] - at, 0.0) for number, at in began.items())

    def _look_at_last(self, entries: list[dict[str, Any]], attempt: int) -> None:
        """Find how the last attempt that trained has ended, and from where it had begun."""
        cut_off: dict[int, bool] = {}
        older: set[int] = set()
        last = -1
        for entry in entries:
            kind, number = entry["kind"], entry.get("attempt")
            if kind == "scratch_requested":
                self.passed_over.clear()
                last = -1
            if not isinstance(number, int) or number >= attempt:
                continue
            if kind == "attempt_started":
                # without a keeper nobody knows how a script that was run by hand has ended
                cut_off[number] = entry.get("keeper_pid") is not None
            elif kind == "attempt_ended":
                cut_off[number] = _is_failure(entry)
            elif kind == "resumed":
                last = number
                newer = proof.newer(entry)
                if newer is not None:
                    self.passed_over.add(newer[0])
                    older.add(number)
        self.cut_off = cut_off.get(last, False) and last not in older

    def _read(self, entries: list[dict[str, Any]]) -> None:
        ended: set[int] = set()
        self.proofs = EarlierProofs.of(entries)
        for entry in entries:
            kind, stage = entry["kind"], entry.get("stage") or 0
            if kind == "checkpoint_committed":
                self.committed.add(entry["name"])
                self._saved(entry, stage)
            elif kind == "checkpoint_pruned":
                self.committed.discard(entry["name"])
                self.saves.pop(entry["name"], None)
            elif kind == "scratch_requested":
                self.committed.clear()
                self.left.clear()
                ended.clear()
            elif kind == "warned" and entry.get("unfollowed") is True:
                if entry["message"] not in self.unfollowed:
                    self.unfollowed.append(entry["message"])
            elif kind == "attempt_ended":
                self.failures += _is_failure(entry)
                ran = entry.get("seconds")
                self.seconds += ran if isinstance(ran, int | float) else 0.0
            elif kind == "stage_ended":
                ended.add(stage)
                self.left.discard(stage)
            elif kind == "resumed":
                self.last = stage
                if entry.get("checkpoint") is None:
                    self.left |= {other for other in self.begun if other < stage} - ended
                    self.begun[stage] = entry.get("step") or 0

    def _saved(self, entry: dict[str, Any], stage: int) -> None:
        seconds, size, delay = (entry.get(name) for name in ("seconds", "bytes", "delay"))
        self.saves.pop(entry["name"], None)  # the newest is the last
        if isinstance(seconds, int | float) and isinstance(size, int):
            known = max(float(delay), 0.0) if isinstance(delay, int | float) else None
            made = Save(entry.get("attempt") or 0, max(float(seconds), 0.0), size, known)
            self.saves[entry["name"]] = (stage, made)

    def repeated(
        self, stage: int, step: int, checkpoint: Checkpoint | None, existing: Iterable[Checkpoint]
    ) -> tuple[int, float]:
        """Count the steps, and seconds of training, that this attempt repeats.

        Stages that an exception left are repeated from their own checkpoints up to that
        exception, so only the steps after each of these checkpoints count.

        Args:
            stage: the first stage to train; earlier ones had ended.
            step: where it is resumed, or begins if it has no ``checkpoint``.
            existing: all checkpoints of the run, newest first.
        """
        newest: dict[int, Checkpoint] = {}
        for found in existing:
            newest.setdefault(found.position.stage, found)
        steps, seconds = 0, 0.0
        for number in range(stage, self.last + 1):
            origin = checkpoint if number == stage else newest.get(number)
            if origin is not None and origin.position.end and number != stage:
                continue
            if number == stage:
                since = step
            else:
                since = origin.position.step if origin else self.begun.get(number, 0)
            until = self.reached if number == self.last else self.begun.get(number + 1, since)
            if until > since:
                steps += until - since
                seconds += self._seconds_since(number, origin)
        return steps, round(seconds, 3)

    def _seconds_since(self, stage: int, checkpoint: Checkpoint | None) -> float:
        made = 0.0
        if checkpoint is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                manifest = checkpoint.read_manifest()
                # the training went on while it was written; an older version waited for that
                made = float(manifest.get("taken", manifest["created"]))
        return sum(
            max(span.until - max(span.since, made), 0.0)
            for span in self.spans
            if span.stage == stage
        )


def _is_failure(end: dict[str, Any]) -> bool:
    """Return whether an attempt that the keeper saw end could not save first."""
    return end.get("cause") not in _NO_FAILURE or end.get("killed_after_grace") is True


def spans(entries: list[dict[str, Any]], attempt: int, last: Beat | None) -> list[Span]:
    """List when earlier attempts were training, and in which stage.

    Args:
        attempt: number of the attempt that begins now.
        last: the last heartbeat of an earlier attempt.
    """
    found: list[Span] = []
    current: dict[int, int] = {}
    ran: dict[int, float] = {}
    behind: dict[int, int] = {}
    for entry in entries:
        number, kind = entry.get("attempt"), entry["kind"]
        if not isinstance(number, int) or number >= attempt:
            continue
        if kind not in OF_DAEMON and kind != "attempt_ended" and number in current:
            # only what the training itself wrote: a release comes hours after a hold, and after
            # a power loss attempt_ended comes hours after the last step
            at = current[number]
            found[at] = replace(found[at], until=entry["t"])
        if kind == "attempt_ended" and isinstance(entry.get("seconds"), int | float):
            ran[number] = entry["seconds"]
        if kind == "attempt_ended" and (entry.get("at_step") or 0) >= behind.get(number, 0):
            behind.pop(number, None)
        if kind == "resumed":
            current[number] = len(found)
            if (newer := proof.newer(entry)) is not None:
                behind[number] = newer[1]
            found.append(Span(entry.get("stage") or 0, entry["t"], entry["t"]))
    if last is not None and last.attempt in current:
        at = current[last.attempt]
        found[at] = replace(found[at], until=max(found[at].until, last.at))
    # the times are those of a clock that can be set; the keeper's own bounds them
    for number, at in current.items():
        if number in ran:
            one = found[at]
            found[at] = replace(one, until=min(one.until, one.since + ran[number]))
        if number in behind and not (
            last is not None and last.attempt == number and last.step >= behind[number]
        ):
            # it has trained nothing beyond the checkpoint in place of which it began
            found[at] = replace(found[at], until=found[at].since)
    return found
