"""Choose among recorded stages of the same content: pure functions over ways and entries.

A relaunch that calls all of them again begins each with the weights that are recorded, so that
these decide before all else, and then the order: a finished stage is taken before an unfinished
one. A script that resumes itself begins with other weights, and resumes the unfinished stage.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rekindle.jobs.stages.decision import Call, Found, Record, differences_of


@dataclass(frozen=True)
class _Choice:
    """Hold what a call of ``fit`` may be; each list is made when the first rule asks for it.

    Most calls are found by the first rule: hundreds of stages need not be compared with hundreds.

    Attributes:
        same: unmet stages of the content of the call, by number.
        met: stages that this attempt has met, in its order.
    """

    call: Call
    same: Sequence[Record]
    met: Sequence[Record]

    @functools.cached_property
    def there(self) -> Sequence[Record]:
        """Those at the place and in the turn of the call."""
        way = self.call.way
        return [one for one in self.same if way.equals(one.way) or is_moved(self.call, one)]

    @functools.cached_property
    def near(self) -> Sequence[Record]:
        """Those that are not certainly of another place, turn or parameter."""
        decides = self.parameters_decide
        return [one for one in self.same if not _is_elsewhere(self.call, one, decides=decides)]

    @functools.cached_property
    def ahead(self) -> Sequence[Record]:
        """Those near the call that follow what this attempt has met."""
        last = max((one.number for one in self.met), default=-1)
        return [one for one in self.near if one.number > last]

    @functools.cached_property
    def parameters_decide(self) -> bool:
        """True if the stages of this place and turn had each its own parameters."""
        return _parameters_decide(self.call, [*self.same, *self.met])

    def begun_alike(self, among: Iterable[Record]) -> list[Record]:
        """List those that began with the weights of the call."""
        return [one for one in among if one.entry.weights == self.call.entry.weights]


def choose(call: Call, same: Sequence[Record], met: Sequence[Record]) -> Found | Record | None:
    """Choose the stage that a call is, by the first rule that finds one.

    Args:
        same: unmet stages of the content of the call, by number.
        met: stages that this attempt has met, in its order.

    Returns:
        The stage; or an open one that the call should be and is not; or None for a new one.
    """
    choice = _Choice(call, same, met)
    for rule in _RULES:
        found = rule(choice)
        if found is not None:
            return _with_order(call, found)
    # another training with the same content
    return next((record for record in same if record.is_open), None)


def _there_with_these_weights(choice: _Choice) -> Found | None:
    """Take the stage of this place and turn that began with the weights of the call."""
    both = choice.begun_alike(choice.there)
    return Found(_closest(choice.call, both)) if both else None


def _unfinished_there(choice: _Choice) -> Found | None:
    """Take the unfinished stage of this place and turn: the script loads its own weights."""
    return _unfinished(choice, choice.there)


def _only_one_with_these_weights(choice: _Choice) -> Found | None:
    """Take the unfinished stage that alone began with these weights, wherever it was called."""
    begun = choice.begun_alike(choice.same)
    if len(begun) == 1 and not begun[0].ended:
        return Found(begun[0])  # what is restored replaces all else
    return None


def _finished_there(choice: _Choice) -> Found | None:
    """Take the finished stage of this place and turn, which need not be the same call of it."""
    call = choice.call
    there = [one for one in choice.there if one in choice.ahead or call.way.equals(one.way)]
    if not there:
        return None
    first = there[0]
    if not call.way.repeats or call.resumes_itself or choice.parameters_decide:
        return Found(first)
    return Found(first, doubt="it begins with other weights")


def _near_with_these_weights(choice: _Choice) -> Found | None:
    """Take the stage that began with these weights, if it may be the same call."""
    begun = choice.begun_alike(choice.near)
    if not begun:
        return None
    record = _closest(choice.call, begun)
    if record.ended and _has_other_parameters(choice.call, record):
        return Found(record, doubt="it is called with other parameters")
    return Found(record)


def _unfinished_near(choice: _Choice) -> Found | None:
    """Take the unfinished stage: the script resumes itself in another place."""
    return _unfinished(choice, choice.near)


def _finished_near(choice: _Choice) -> Found | None:
    """Take the next finished stage, unless the weights are those of one of another place."""
    if not choice.ahead or choice.begun_alike(choice.same):
        return None
    first = choice.ahead[0]
    return Found(first, doubt="" if choice.call.resumes_itself else "it begins with other weights")


def _resumed_by_script(choice: _Choice) -> Found | None:
    """Take what a script resumes that passes an ``initial_epoch``, if it is not another turn.

    ``fit(initial_epoch=epoch)`` in a loop begins a new stage in each turn.
    """
    if not choice.call.resumes_itself:
        return None
    open_ = [one for one in choice.same if not one.ended]
    turns = [one for one in choice.same if not choice.call.way.is_other_turn(one.way)]
    return Found((open_ or turns)[0]) if open_ or turns else None


_RULES: tuple[Callable[[_Choice], Found | None], ...] = (
    _there_with_these_weights,
    _unfinished_there,
    _only_one_with_these_weights,
    _finished_there,
    _near_with_these_weights,
    _unfinished_near,
    _finished_near,
    _resumed_by_script,
)


def are_alike(one: Record, other: Record) -> bool:
    """Return whether nothing but their order and their entry tells two stages apart."""
    return (
        one.key is not None
        and other.key is not None
        and one.key.fits(other.key)
        and one.way.is_alike(other.way)
    )


def may_be_mistaken(met: Record, other: Record) -> bool:
    """Return whether a call that got the result of a finished stage may have meant another one.

    A script that skips what it has finished draws the initial weights of the first stage for a
    later one, with the random state of the first; or begins all of them with the weights of a file.
    """
    if not are_alike(met, other) or met.entry == other.entry:
        return False
    return met.entry.weights == other.entry.weights or met.number < other.number


def is_moved(call: Call, record: Record) -> bool:
    """Return whether a change of the script may have moved a stage to the place of the call."""
    now, then = call.way, record.way
    changed = now.code != then.code if now.code and then.code else record.accepted
    return changed and now.known and then.known and not now.is_other_value(then)


def _is_elsewhere(call: Call, record: Record, *, decides: bool) -> bool:
    """Return whether a stage of the same content is that of another call.

    A script that resumes by itself may call `fit` in another line, with weights that it loaded.

    Args:
        decides: the parameters of the functions around the call tell trainings apart.
    """
    if is_moved(call, record):
        return False
    if call.way.is_other_turn(record.way):
        return True
    return record.ended and (
        (call.entry.weights == record.entry.weights and call.way.is_other_line(record.way))
        or (decides and _has_other_parameters(call, record))
    )


def _has_other_parameters(call: Call, record: Record) -> bool:
    """Return whether nothing that is known differs but the parameters of functions."""
    now, then = call.way, record.way
    return bool(now.given and then.given) and (
        now.given != then.given and now.is_alike_but_given(then)
    )


def _parameters_decide(call: Call, records: Iterable[Record]) -> bool:
    """Return whether the stages of this place and turn had each its own parameters."""
    given: set[str] = set()
    for one in records:
        if one.way.given and call.way.is_alike_but_given(one.way):
            if one.way.given in given:
                return False  # at once: hundreds of stages of one loop have the same
            given.add(one.way.given)
    return len(given) > 1


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


def _unfinished(choice: _Choice, among: Sequence[Record]) -> Found | None:
    """Choose between an unfinished stage and finished ones that the call may as well be.

    The weights that the call begins with are those of none: the script has loaded its own, or
    draws others in each attempt.
    """
    record = next((one for one in among if not one.ended), None)
    if record is None:
        return None
    others = [one for one in among if one.ended and are_alike(one, record)]
    if not others:
        return Found(record)
    if choice.met and are_alike(choice.met[-1], record):
        return Found(others[0])  # the relaunch meets them in their order
    return Found(record, guessed_among=tuple(one.number for one in others))


def _with_order(call: Call, found: Found) -> Found:
    """Say how a call differs that was found in changed code."""
    record = found.record
    if not is_moved(call, record) or call.way.is_alike(record.way):
        return found
    return replace(found, by_order=", ".join(differences_of(call, record)), doubt="")
