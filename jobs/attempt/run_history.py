"""What earlier attempts of a run came to, as its journal tells."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rekindle.jobs.heartbeat import Beat
from rekindle.state.run.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which an attempt was in one stage: from its receipt to the next one, or to the
    attempt's last sign of life. Unix times."""

    stage: int
    since: float
    until: float


@dataclass(slots=True)
class RunHistory:
    """
    Attributes:
        reached: batches trained in the whole run, as last told by a heartbeat.
        committed: names of checkpoints that should be there, since the last start from scratch.
        left: stages that did not end and after which another began: an exception left them.
        begun: the step at which each stage began.
        last: the stage that training was in at last; -1 where there was none.
        unfollowed: what earlier attempts reported of training that is not saved.
    """

    reached: int = 0
    committed: set[str] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    last: int = -1
    spans: list[Span] = field(default_factory=list)
    unfollowed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, entries: list[dict[str, Any]], attempt: int, beat: Beat | None) -> "RunHistory":
        """
        Args:
            entries: all of the journal.
            attempt: the one that begins now.
            beat: the last heartbeat of one before.
        """
        past = cls(beat.step if beat is not None else 0, spans=spans(entries, attempt, beat))
        past._read(entries)
        return past

    def _read(self, entries: list[dict[str, Any]]) -> None:
        ended: set[int] = set()
        for entry in entries:
            kind, stage = entry["kind"], entry.get("stage") or 0
            if kind == "checkpoint_committed":
                self.committed.add(entry["name"])
            elif kind == "checkpoint_pruned":
                self.committed.discard(entry["name"])
            elif kind == "scratch_requested":
                self.committed.clear()
                self.left.clear()
                ended.clear()
            elif kind == "warned" and entry.get("unfollowed") is True:
                if entry["message"] not in self.unfollowed:
                    self.unfollowed.append(entry["message"])
            elif kind == "stage_ended":
                ended.add(stage)
                self.left.discard(stage)
            elif kind == "resumed":
                self.last = stage
                if entry.get("checkpoint") is None:
                    self.left |= {other for other in self.begun if other < stage} - ended
                    self.begun[stage] = entry.get("step") or 0

    def lost(
        self, stage: int, step: int, checkpoint: Checkpoint | None, there: Iterable[Checkpoint]
    ) -> tuple[int, float]:
        """Steps, and seconds of training, that were done beyond the checkpoints.

        Stages that an exception had left are trained once more from their own checkpoints, up to
        that exception: of each only that much is lost.

        Args:
            stage: the first one to be trained; earlier ones had ended.
            step: where it goes on, or begins where there is no ``checkpoint`` of it.
            there: all checkpoints of the run, newest first.
        """
        newest: dict[int, Checkpoint] = {}
        for found in there:
            newest.setdefault(found.position.stage, found)
        steps, seconds = 0, 0.0
        for number in range(stage, self.last + 1):
            origin = checkpoint if number == stage else newest.get(number)
            if origin is not None and origin.position.end:
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
                made = float(checkpoint.read_manifest()["created"])
        return sum(
            max(span.until - max(span.since, made), 0.0)
            for span in self.spans
            if span.stage == stage
        )


def spans(entries: list[dict[str, Any]], attempt: int, last: Beat | None) -> list[Span]:
    """When earlier attempts were training, and in which stage.

    Args:
        attempt: the one that begins now.
        last: the last heartbeat of one before.
    """
    found: list[Span] = []
    current: dict[int, int] = {}
    for entry in entries:
        number = entry.get("attempt")
        if not isinstance(number, int) or number >= attempt:
            continue
        if entry["kind"] != "attempt_ended" and number in current:
            # the end itself may be hours after the last step, when a machine was off
            at = current[number]
            found[at] = replace(found[at], until=entry["t"])
        if entry["kind"] == "resumed":
            current[number] = len(found)
            found.append(Span(entry.get("stage") or 0, entry["t"], entry["t"]))
    if last is not None and last.attempt in current:
        at = current[last.attempt]
        found[at] = replace(found[at], until=max(found[at].until, last.at))
    return found
