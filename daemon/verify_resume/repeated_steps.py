"""Find in a journal what repeated steps showed: the first that differs, and its group.

The final states say that a resume is not exact; the record of the steps says where that began.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rekindle.state.counted import counted
from rekindle.state.run.entries import Entry


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Hold the first repeated step that was not as before.

    Attributes:
        attempt, checkpoint: the attempt that repeated it, and where that was resumed.
        epoch: 0-based.
        step: batches trained in the whole run.
        ended: the metrics of the epoch's end differ, and no step before.
        group: data, model, optimizer, metrics or seeds; None where only the loss was compared.
        loss, was: of the repeated and the earlier step.
    """

    attempt: int
    checkpoint: str | None
    stage: int
    epoch: int
    step: int
    ended: bool
    group: str | None
    loss: Any
    was: Any

    def __str__(self) -> str:
        """Return it as the end of a sentence."""
        where = f"step {self.step} of epoch {self.epoch + 1}"
        if self.ended:
            where = f"the end of epoch {self.epoch + 1}"
        group = f", group {self.group}" if self.group else ""
        origin = f" after the resume from {self.checkpoint}" if self.checkpoint else ""
        return f"{where}{group} (attempt {self.attempt}{origin})"


@dataclass(frozen=True, slots=True)
class RepeatedSteps:
    """Hold what the repeated steps of all attempts showed.

    Attributes:
        steps: how many were compared.
        epoch_start: an epoch began among those of some attempt.
        first: the first that differs; None if none does.
    """

    steps: int
    epoch_start: bool
    first: FirstDifference | None

    def __str__(self) -> str:
        """Return it as a sentence without its full stop."""
        if self.first is not None:
            return f"the first repeated step that differs: {self.first}"
        if not self.steps:
            return "no repeated step was compared"
        start = "an" if self.epoch_start else "no"
        return (
            f"{counted(self.steps, 'repeated step')} compared, all identical, "
            f"{start} epoch start among them"
        )


def of(journal: Iterable[Entry]) -> RepeatedSteps:
    """Read the entries ``proved`` of a journal; of each stage of an attempt the last one counts."""
    last: dict[tuple[int, int], Entry] = {}
    for entry in journal:
        if entry["kind"] == "proved":
            last[entry["attempt"], entry["stage"]] = entry
    first = None
    for (attempt, _), entry in sorted(last.items()):
        differs = entry.get("differs")
        if differs and first is None:
            first = FirstDifference(
                attempt=attempt,
                checkpoint=entry.get("checkpoint"),
                stage=int(differs.get("stage") or 0),
                epoch=int(differs.get("epoch") or 0),
                step=int(differs.get("step") or 0),
                ended=bool(differs.get("ended")),
                group=differs.get("group"),
                loss=differs.get("loss"),
                was=differs.get("was"),
            )
    steps = sum(entry.get("steps") or 0 for entry in last.values())
    return RepeatedSteps(steps, any(e.get("epoch_start") for e in last.values()), first)
