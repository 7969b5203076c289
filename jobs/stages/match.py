"""Decide which recorded stage a call is: pure functions over keys."""

from collections.abc import Sequence

from rekindle.jobs.stages import equal_stages
from rekindle.jobs.stages.decision import (
    Call,
    Decision,
    Found,
    New,
    Record,
    Refused,
    differences_of,
)


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
    among = equal_stages.choose(call, same, met) if same else None
    if isinstance(among, Found):
        return among
    keyless = next((r for r in unmet if r.key is None and r.number == next_number), None)
    if keyless is not None:
        return Found(keyless)
    # other arguments make another content: the stages of a fork are those of its order
    inherited = next((r for r in unmet if r.forked and r.number == next_number), None)
    if inherited is not None:
        return Found(inherited, ", ".join(differences_of(call, inherited)))
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
    key, fits = None, False
    for record in unmet:
        # not `id` of each: the hook that notes written files is called for it
        if record.key is not key and record.key is not None:
            key = record.key
            identity = id(key)
            if identity not in known:
                known[identity] = call.key.fits(key)
            fits = known[identity]
        if fits and record.key is not None:
            found.append(record)
    return found


def _is_passed(call: Call, record: Record, met: Sequence[Record]) -> bool:
    """Return whether the script has passed a stage: it has met a later one of the same way."""
    return call.entry.weights != record.entry.weights and any(
        later.number > record.number and equal_stages.are_alike(later, record)
        for later in reversed(met)
    )


def _suspect(call: Call, unmet: Sequence[Record]) -> Record | None:
    """Find the stage that a call of unknown content should be."""
    known = [record for record in unmet if record.key is not None]
    # the same turn of the same loops with other content: a finished stage is not repeated
    there = [
        record
        for record in known
        if call.way.equals(record.way)
        or (call.way.turns and record.accepted and equal_stages.is_moved(call, record))
    ]
    open_ = [record for record in known if record.is_open]
    return next(iter([*(r for r in open_ if r in there), *open_, *there]), None)
