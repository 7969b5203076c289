"""Decide which recorded stage a call is: pure functions over keys."""

from collections.abc import Sequence
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
    """

    number: int
    key: StageKey | None = None
    entry: Entry = field(default_factory=Entry)
    way: Way = field(default_factory=Way)
    ended: bool = False
    left: bool = False
    step: int = 0
    accepted: bool = False

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
        by_order: found by its order alone, since a person has accepted a difference; in words.
        guessed_among: other stages that it may as well be, by number.
    """

    record: Record
    by_order: str = ""
    guessed_among: tuple[int, ...] = ()


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


def find(
    call: Call, unmet: Sequence[Record], next_number: int, met: Sequence[Record] = ()
) -> Decision:
    """Decide which stage a call is.

    Args:
        unmet: records of the stages that this attempt has not met yet, by number.
        next_number: number of the stage that follows the last one that this attempt has met.
        met: records of the stages that it has met, in the order in which it met them.
    """
    last = max((record.number for record in met), default=-1)
    # most scripts pass none: hundreds of stages would be compared with hundreds
    unmet = [r for r in unmet if r.number > last or not _is_passed(call, r, met)]
    same = _fitting(call, unmet)
    among = _among(call, same, met) if same else None
    if isinstance(among, Found):
        return among
    keyless = next((r for r in unmet if r.key is None and r.number == next_number), None)
    if keyless is not None:
        return Found(keyless)
    suspect = among or _suspect(call, unmet)
    if suspect is None:
        return New()
    differences = differences_of(call, suspect)
    if suspect.accepted:
        return Found(suspect, ", ".join(differences))
    return Refused(suspect, differences)


def _fitting(call: Call, unmet: Sequence[Record]) -> list[Record]:
    """List the stages of the content of a call; many of them may have one key."""
    known: dict[int, bool] = {}
    found = []
    for record in unmet:
        if record.key is not None:
            if id(record.key) not in known:
                known[id(record.key)] = call.key.fits(record.key)
            if known[id(record.key)]:
                found.append(record)
    return found


def _is_passed(call: Call, record: Record, met: Sequence[Record]) -> bool:
    """Return whether the script has passed a stage: it has met a later one of the same way."""
    return call.entry.weights != record.entry.weights and any(
        later.number > record.number and _are_alike(later, record) for later in reversed(met)
    )


def _are_alike(one: Record, other: Record) -> bool:
    """Return whether nothing but their order and their entry tells two stages apart."""
    return (
        one.key is not None
        and other.key is not None
        and one.key.fits(other.key)
        and one.way.is_alike(other.way)
    )


def only_random_differs(one: Record, other: Record) -> bool:
    """Return whether nothing but their order and their random state tells two stages apart.

    A script that skips the first may have drawn nothing for it, and so begin the second with the
    random state of the first.
    """
    return (
        _are_alike(one, other)
        and one.entry.weights == other.entry.weights
        and one.entry.random != other.entry.random
    )


def _among(call: Call, same: Sequence[Record], met: Sequence[Record]) -> Found | Record | None:
    """Choose among stages of the same content.

    A relaunch that calls all of them again begins each with the weights that are recorded, so
    that these decide before all else, and then the order: a finished stage is taken before an
    unfinished one. A script that resumes itself begins with other weights, and resumes the
    unfinished stage.

    Returns:
        The stage; or an open one that the call should be and is not; or None for a new one.
    """
    there = [record for record in same if call.way.equals(record.way)]
    begun_alike = [record for record in same if call.entry.weights == record.entry.weights]
    open_ = [record for record in same if not record.ended]
    both = [record for record in there if record in begun_alike]
    if both:
        return Found(_closest(call, both))
    unfinished = [record for record in there if record in open_]
    if unfinished:
        return _unfinished(unfinished[0], there, met)
    if len(begun_alike) == 1 and begun_alike[0] in open_:
        return Found(begun_alike[0])  # what is restored replaces all else
    if there:
        return Found(there[0])
    undecided = [record for record in same if not _is_elsewhere(call, record)]
    # the way does not tell them apart: the state they begin with does, and their order
    begun = [record for record in begun_alike if record in undecided]
    if begun:
        return Found(_closest(call, begun))
    unfinished = [record for record in undecided if record in open_]
    if unfinished:
        return _unfinished(unfinished[0], undecided, met)
    if undecided:
        return Found(undecided[0])
    if call.resumes_itself:
        # of finished ones not that of another turn: `fit(initial_epoch=epoch)` in a loop
        turns = [record for record in same if not call.way.is_other_turn(record.way)]
        if open_ or turns:
            return Found((open_ or turns)[0])
    # another training with the same content
    return next((record for record in open_ if record.is_open), None)


def _closest(call: Call, begun_alike: Sequence[Record]) -> Record:
    """Choose among stages that began with the weights of a call: the first, if all else is equal.

    They may all begin with the weights of one file, or with those of one seed.
    """

    def distance(record: Record) -> tuple[bool, bool, int]:
        return (
            not call.way.is_alike(record.way),
            call.entry.random != record.entry.random,
            record.number,
        )

    return min(begun_alike, key=distance)


def _unfinished(record: Record, among: Sequence[Record], met: Sequence[Record]) -> Found:
    """Choose between an unfinished stage and finished ones that the call may as well be.

    The weights that the call begins with are those of none: the script has loaded its own, or
    draws others in each attempt.
    """
    others = [one for one in among if one.ended and _are_alike(one, record)]
    if not others:
        return Found(record)
    if met and _are_alike(met[-1], record):
        return Found(others[0])  # the relaunch meets them in their order
    return Found(record, guessed_among=tuple(one.number for one in others))


def _is_elsewhere(call: Call, record: Record) -> bool:
    """Return whether a stage of the same content is that of another call.

    A script that resumes by itself may call `fit` in another line, with weights that it loaded.
    """
    if call.way.is_other_turn(record.way):
        return True
    return (
        record.ended
        and call.entry.weights == record.entry.weights
        and call.way.is_other_line(record.way)
    )


def _suspect(call: Call, unmet: Sequence[Record]) -> Record | None:
    """Find the stage that a call of unknown content should be."""
    known = [record for record in unmet if record.key is not None]
    # the same turn of the same loops with other content: a finished stage is not repeated
    there = [record for record in known if call.way.equals(record.way)]
    open_ = [record for record in known if record.is_open]
    return next(iter([*(r for r in open_ if r in there), *open_, *there]), None)


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
