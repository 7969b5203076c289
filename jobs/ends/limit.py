"""Limit of the checkpoints at the ends of stages: above it, weights that are not needed go."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from rekindle.jobs.journal_writer import log_line
from rekindle.state.errors import UsageError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries
from rekindle.state.run.checkpoints import Checkpoint

_SMALL: Final = 4096
"""Bytes up to which an array stays: learning rates and counters are compared in each relaunch."""


@dataclass(frozen=True, slots=True)
class Follower:
    """The stage that began with the weights of an end.

    Attributes:
        weights: digest in its entry.
    """

    stage: int
    weights: str

    @classmethod
    def parse(cls, value: Any) -> "Follower | None":
        """Read it from a state; None if it has another form."""
        if not isinstance(value, dict):
            return None
        stage, weights = value.get("stage"), value.get("weights")
        if isinstance(stage, int) and isinstance(weights, str):
            return cls(stage, weights)
        return None


def refuse_dropped(checkpoint: str, state: Mapping[str, Any]) -> None:
    """Refuse to export a checkpoint without its weights.

    Raises:
        UsageError: they were dropped.
    """
    if "dropped" in state:
        raise UsageError(
            f"The weights of {checkpoint} were dropped (`checkpoint.keep_ends`): the next stage "
            "continued with them.",
            hint="Export a newer checkpoint: `rekindle show JOB` lists them.",
        )


class EndLimit:
    """Drop the weights in the ends of one run, the oldest first.

    Args:
        limit: bytes of all ends together.
        note: appends a journal entry.
        warn: reports a message and a hint, once.
    """

    def __init__(
        self,
        run: Run,
        limit: int,
        note: Callable[[entries.Entry], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self._folder = run.checkpoints
        self._limit = limit
        self._note = note
        self._warn = warn
        self._sizes: dict[str, int] = {}

    def drop(self, followers: Mapping[int, Follower], protected: str | None) -> None:
        """Drop the weights of ends that a finished stage has begun with, until the rest fits.

        A failure is logged: the checkpoint is as it was.

        Args:
            protected: name of a checkpoint that stays.
        """
        ends = {c.position.stage: c for c in checkpoints.scan(self._folder) if c.position.end}
        self._sizes = {c.name: self._sizes.get(c.name) or c.bytes for c in ends.values()}
        for stage in sorted(followers):
            if sum(self._sizes.values()) <= self._limit:
                return
            end, following = ends.get(stage), ends.get(followers[stage].stage)
            if end is None or following is None or end.is_reduced or end.name == protected:
                continue
            if any(checkpoints.verify(one) is not None for one in (end, following)):
                continue  # nothing goes before what is newer was verified
            try:
                self._reduce(end, followers[stage])
            except (OSError, ValueError, KeyError) as error:
                log_line(f"the weights of {end.name} were not dropped: {error}")
                return
        if sum(self._sizes.values()) > self._limit > 0:
            self._warn(
                "The checkpoints at the ends of the stages take more than the limit of "
                f"{self._limit} bytes (`checkpoint.keep_ends`): a relaunch needs them, since the "
                "script uses its models between its stages.",
                "Raise the limit if the disk has space for them.",
            )

    def _reduce(self, end: Checkpoint, follower: Follower) -> None:
        from rekindle.state.run import tensors

        arrays, metadata = tensors.load(end.state)
        state = json.loads(metadata["state"])
        groups = tuple(f"{group}/" for group in state["variables"])
        kept = {
            name: array
            for name, array in arrays.items()
            if not name.startswith(groups) or array.nbytes <= _SMALL
        }
        state["dropped"] = asdict(follower)
        text = {**metadata, "state": json.dumps(state, separators=(",", ":"))}
        checkpoints.reduce(end, lambda file: tensors.save(file, kept, text))
        before, self._sizes[end.name] = self._sizes[end.name], end.bytes
        freed = before - self._sizes[end.name]
        self._note(entries.weights_dropped(name=end.name, left=self._sizes[end.name], freed=freed))
        log_line(
            f"the weights of {end.name} were dropped ({freed} bytes): stage {follower.stage} "
            "continued with them."
        )
