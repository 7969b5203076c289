"""Recorded stages, calls of ``fit``, and what a call is found to be."""

from dataclasses import dataclass, field

from rekindle.jobs.stages.key import Entry, StageKey, Way


@dataclass(frozen=True, slots=True)
class Record:
    """Hold what earlier attempts have recorded of a stage.

    Attributes:
        number: of the stage, by which its checkpoints are named.
        key: None for a stage of an older version.
        ended: it has ended.
        step: batches trained in the whole run at its end.
        left: an exception that the script caught ended it, and a later stage began.
        accepted: a person has accepted a change of the script since it was recorded.
        origin: of a forked job: the state with which the stage began in the job that it was forked
            from; None where it began in this job.
        forked: no attempt of this job has met it yet.
    """

    number: int
    key: StageKey | None = None
    entry: Entry = field(default_factory=Entry)
    way: Way = field(default_factory=Way)
    ended: bool = False
    left: bool = False
    step: int = 0
    accepted: bool = False
    origin: Entry | None = None
    forked: bool = False

    @property
    def is_open(self) -> bool:
        """True if a relaunch has to meet it: it began and has not ended."""
        return not self.ended and not self.left


@dataclass(frozen=True, slots=True)
class Call:
    """Hold a call of ``fit``, or a loop that begins.

    Attributes:
        resumes_itself: the script passes an ``initial_epoch`` above 0.
    """

    key: StageKey
    entry: Entry = field(default_factory=Entry)
    way: Way = field(default_factory=Way)
    resumes_itself: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The recorded stage that a call is.

    Attributes:
        by_order: found by its order, though it differs as a change of the script may have it; in
            words.
        guessed_among: other stages that it may as well be, by number.
        doubt: why the call may be none of the recorded stages; in words.
    """

    record: Record
    by_order: str = ""
    guessed_among: tuple[int, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class New:
    """A call that is none of the recorded stages."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that is none of the recorded stages, though it should be this one.

    Attributes:
        differences: between call and record, in words.
    """

    record: Record
    differences: tuple[str, ...]


Decision = Found | New | Refused


def differences_of(call: Call, record: Record) -> tuple[str, ...]:
    """Say in words how a call differs from a record."""
    found = list(call.key.differences(record.key)) if record.key is not None else []
    if not found:
        if call.entry.weights != record.entry.weights:
            found.append("the weights it begins with differ")
        if call.entry.random != record.entry.random:
            found.append("the random state differs")
        if call.way.place != record.way.place:
            found.append(f"the call was at {record.way.place} and is at {call.way.place}")
        for then, now in zip(record.way.turns, call.way.turns, strict=False):
            if then != now:
                found.append(f"{then} is now {now}")
    return tuple(found)
