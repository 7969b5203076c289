"""Compare repeated steps with the earlier ones. Pure: no file, no clock, no Keras."""

from collections.abc import Callable, Iterable
from typing import Final

from rekindle.jobs.evidence.step_record import Digest, Evidence
from rekindle.state.run.proof import Difference

GROUPS: Final = ("model", "optimizer", "metrics", "seeds")
"""Groups of the sums of a digest, in their order."""

Gaps = Callable[[], Iterable[tuple[str, str]]]
"""Return group and text of each value that was not restored, as of now."""


class Comparison:
    """Collect what the repeated steps of one stage have proved, up to the first difference.

    Args:
        begun: the step at which the stage is resumed.
        epoch: its epoch.
        at_start: the epoch begins there.
        gaps: returns what was not restored.

    Attributes:
        steps: repeated steps that were compared and are identical. One without logs and digest
            counts once the state after a later one is: what followed from it is equal.
        unseen: repeated steps since then that have neither.
        digests: steps at which the digests were compared and are identical.
        epoch_start, epoch_end: an epoch began or ended among them.
        difference: the first difference.
    """

    def __init__(
        self, begun: int, epoch: int, *, at_start: bool = False, gaps: Gaps = tuple
    ) -> None:
        self.steps = 0
        self.unseen = 0
        self.digests = 0
        self.epoch_start = False
        self.epoch_end = False
        self.difference: Difference | None = None
        self._at = begun
        self._epoch = -1 if at_start else epoch
        self._before = begun
        # the last step after which the whole state was equal: at first the restored one
        self._equal_at = begun
        self._begun = begun
        self._gaps = gaps

    def step(self, now: Evidence, was: Evidence) -> bool:
        """Compare a step, with digests where both have one of the same kind; True if identical.

        Call it again with digests for the step that it was called for last.
        """
        digests = _comparable(now.digest, was.digest)
        same = _same_logs(now, was)
        if not same or (digests is not None and not _same_state(*digests)):
            self._differ(now, was, digests, ended=False)
            return False
        seen = digests is not None or _have_logs(now, was)
        if now.step != self._at:
            self.same(now.step, now.epoch, seen=seen)
        if digests is not None:
            self.steps, self.unseen = self.steps + self.unseen, 0
            self.digests += 1
            self._equal_at = now.step
        return True

    def same(self, step: int, epoch: int, *, seen: bool = True) -> None:
        """Count a step that is identical, as far as it has anything to compare.

        Args:
            seen: it has.
        """
        before = self._at
        # an execution may be several steps
        count = step - before if step > before else 1
        if seen:
            self.steps += count
        else:
            self.unseen += count
        if epoch != self._epoch:
            self.epoch_start = True
            self._epoch = epoch
        self._before, self._at = before, step

    def skip(self, step: int, epoch: int) -> None:
        """Pass a step without an earlier one to compare with."""
        self._before, self._at, self._epoch = self._at, step, epoch

    def epoch(self, now: Evidence, was: Evidence) -> bool:
        """Compare the logs of an epoch, validation included; True if they are identical."""
        if not _same_logs(now, was):
            self._differ(now, was, None, ended=True)
            return False
        self.epoch_end = self.epoch_end or _have_logs(now, was)
        return True

    def _differ(
        self, now: Evidence, was: Evidence, digests: tuple[Digest, Digest] | None, *, ended: bool
    ) -> None:
        self.difference = Difference(
            now.stage,
            now.epoch,
            now.step,
            ended,
            self._group(now, was, digests),
            now.loss,
            was.loss,
        )

    def _group(
        self, now: Evidence, was: Evidence, digests: tuple[Digest, Digest] | None
    ) -> str | None:
        """Name the group that differs first; None if it is unknown."""
        if self._equal_at == self._begun:
            # no state was equal since, so what was not restored comes before what follows from it
            named = [group for group, _ in self._gaps()]
            if named:
                # the state of a seed generator is a variable of its model as well
                return "seeds" if "seeds" in named else named[0]
        if digests is None:
            return None
        pairs = zip(GROUPS, digests[0].sums, digests[1].sums, strict=True)
        found = {group for group, left, right in pairs if left != right}
        before = self._before if now.step == self._at else self._at
        if "seeds" in found:
            return "seeds"
        if (
            self._equal_at == before
            and (not _same_logs(now, was) or "metrics" in found)
            and "model" in found
        ):
            # from an equal state: another batch gives another loss
            return "data"
        # an optimizer that differs changes the model in the same step
        return next((g for g in ("optimizer", "model", "metrics") if g in found), None)


def _comparable(now: Digest | None, was: Digest | None) -> tuple[Digest, Digest] | None:
    return (now, was) if now is not None and was is not None and now.kind == was.kind else None


def _same_state(now: Digest, was: Digest) -> bool:
    """Return whether the variables are identical, seeds aside.

    A seed generator that data draws from is ahead of the step by a varying number of batches; one
    that a step draws from changes the model.
    """
    return now.sums[:3] == was.sums[:3]


def _same_logs(now: Evidence, was: Evidence) -> bool:
    """Return whether the logs are identical, as far as both have them."""
    return now.logs == was.logs if _have_logs(now, was) else True


def _have_logs(now: Evidence, was: Evidence) -> bool:
    return now.logs is not None and was.logs is not None
