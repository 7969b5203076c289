"""Describe the entry ``proved`` in words: what a relaunch has proved by repeated steps.

Fields of the entry:
    result: one of the constants of this module.
    steps, of: how many of the repeated steps were compared, with how many they were.
    epoch_start, epoch_end: an epoch began or ended among those that were compared.
    digests: at how many steps the state of model, optimizer, metrics and seeds was compared, too.
    differs: the first difference; see :class:`Difference`.
    cause: the nearest known cause of it.
    why: why there is no record.
    differed_in: the first attempt of the run whose repeated steps differ; None if none did.
    state: what of the restored state differs from that of the checkpoint, as text; an entry of an
        older version has none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rekindle.state.counted import counted

IDENTICAL: Final = "identical"
DIFFERENT: Final = "different"
NOTHING_REPEATED: Final = "nothing_repeated"
NO_RECORD: Final = "no_record"
ERROR: Final = "RepeatedStepDiffers"
"""``error_type`` of the entry ``failed`` of an attempt that was held for a difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Hold the first difference between a repeated step, or epoch, and the earlier one.

    Attributes:
        epoch: 0-based.
        step: batches trained in the whole run after it.
        ended: the logs of the epoch's end differ, validation included, and no step before.
        group: data, model, optimizer, metrics or seeds, whichever differs first, or the group of
            what was not restored, callbacks and state as well; None if unknown.
        loss, was: of the repeated and the earlier step; None if it has none.
        relative: the relative difference of the loss.
    """

    stage: int
    epoch: int
    step: int
    ended: bool
    group: str | None
    loss: float | None
    was: float | None

    @property
    def relative(self) -> float | None:
        """The relative difference of the loss; None where it is equal or not a number."""
        if self.loss is None or self.was is None or not self.was:
            return None
        found = abs(self.loss - self.was) / abs(self.was)
        return found if 0 < found < float("inf") else None

    def as_json(self) -> dict[str, Any]:
        """Return the field ``differs`` of the entry."""
        return {
            "stage": self.stage,
            "epoch": self.epoch,
            "step": self.step,
            "ended": self.ended,
            "group": self.group,
            "loss": _finite(self.loss),
            "was": _finite(self.was),
            "relative": self.relative,
        }


def words(entry: Mapping[str, Any]) -> str:
    """Say in a few words what was proved; the entry may be one that a script wrote."""
    result, steps, of = (entry.get(key) for key in ("result", "steps", "of"))
    if result == NOTHING_REPEATED:
        text = "nothing was repeated"
    elif result == NO_RECORD:
        text = f"no record of the repeated steps: {entry.get('why') or 'it is missing'}"
    elif result == DIFFERENT:
        text = _difference(entry.get("differs") or {})
        if steps:
            text += f"; {counted(int(steps), 'step')} before it identical"
    else:
        text = f"{steps} of {of} repeated steps identical, {_epochs(entry)}"
    since = entry.get("differed_in")
    if since is not None and result != DIFFERENT:
        text += f"; the run differs since attempt {since}"
    if entry.get("state"):
        text += f"; not restored: {not_restored(entry['state'])}"
    return text


def newer(receipt: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return name and step of the checkpoint that a resume has passed over; None if it has not."""
    found = receipt.get("instead_of")
    if not isinstance(found, Mapping):
        return None
    name, step = found.get("checkpoint"), found.get("step")
    return (name, step) if isinstance(name, str) and isinstance(step, int) else None


def instead_of(receipt: Mapping[str, Any]) -> str | None:
    """Say why an attempt was not resumed from the newest checkpoint; None if it was."""
    passed = newer(receipt)
    if passed is None:
        return None
    least = receipt["instead_of"].get("compare")
    steps = f"at least {counted(least, 'step')}" if isinstance(least, int) else "more steps"
    return f"not from the newer {passed[0]}, so that {steps} can be compared"


def not_restored(state: Sequence[str]) -> str:
    """Say what of the state was not restored: the first, and how many others."""
    return str(state[0]) + (f" and {len(state) - 1} more" if len(state) > 1 else "")


def _difference(differs: Mapping[str, Any]) -> str:
    where = f"step {differs.get('step')}"
    if differs.get("ended"):
        where = f"the end of epoch {int(differs.get('epoch') or 0) + 1}"
    group = f" ({differs['group']})" if differs.get("group") else ""
    loss, was = differs.get("loss"), differs.get("was")
    if loss is None or was is None:
        return f"{where} differs{group}"
    if loss == was:
        return f"{where} differs{group}: its loss {number(loss)} is equal"
    left, right = number(loss), number(was)
    if left == right:
        left, right = repr(loss), repr(was)
    return f"{where} differs{group}: loss {left} was {right}"


def number(value: Any) -> str:
    """Format a loss with four significant digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _epochs(entry: Mapping[str, Any]) -> str:
    start, end = bool(entry.get("epoch_start")), bool(entry.get("epoch_end"))
    if start and end:
        return "an epoch start and an epoch end among them"
    if start:
        return "an epoch start among them, no epoch end"
    return f"{'an epoch end but ' if end else ''}no epoch start among them"


def _finite(value: float | None) -> float | str | None:
    if value is None or abs(value) < float("inf"):
        return value
    return str(value)
