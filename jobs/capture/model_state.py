"""Model state: variables of the models of a stage, and their fingerprint."""

from collections.abc import Callable
from typing import Any

from rekindle.jobs.capture import fingerprint, variables
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import ComponentBase
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.capture.variables import Groups
from rekindle.state.run.training_state import Fingerprint, TrainingState


class ModelState(ComponentBase):
    """Capture and restore models, optimizers and metrics; a component of every stage.

    Args:
        models: by the label of their variables.
        optimizers: returns them by label; called each time, since some are created late.
        groups: returns all variables, in an order fixed by the script.
        random: knows whether seed generators are numbered differently than before.
    """

    def __init__(
        self,
        models: dict[str, Any],
        optimizers: Callable[[], dict[str, Any]],
        groups: Callable[[], Groups],
        random: RandomState,
    ) -> None:
        self.models = models
        self._optimizers = optimizers
        self._groups = groups
        self._random = random

    def capture(self, arrays: Tensors) -> TrainingState:
        return {"variables": variables.capture(self._groups(), arrays)}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        variables.restore(
            self._here(saved),
            saved["variables"],
            arrays,
            lenient=lenient,
            renumbered=self._random.is_renumbered(saved),
        )

    def fingerprint(self) -> Fingerprint:
        return fingerprint.of(list(self.models.values()), self._optimizers())

    def difference(self, saved: TrainingState) -> str | None:
        return variables.difference(
            self._here(saved), saved["variables"], renumbered=self._random.is_renumbered(saved)
        )

    def receipt(self, saved: TrainingState) -> list[str]:
        counts = {group: len(entries) for group, entries in saved["variables"].items()}
        return [f"{count} {group} variables" for group, count in counts.items() if count]

    def is_finite(self, arrays: Tensors) -> bool:
        """Return whether the captured arrays are finite."""
        return variables.non_finite(self._groups(), arrays) is None

    def components(self) -> list[Any]:
        """List the TensorFlow variables of all groups."""
        return variables.components_of(v for group in self._groups().values() for v in group)

    def trainable(self) -> list[Any]:
        """List the TensorFlow variables that training assigns."""
        models = self.models.values()
        return variables.components_of(v for model in models for v in model.trainable_variables)

    def metrics(self) -> list[Any]:
        """List the TensorFlow variables of the models' compiled metrics."""
        models = self.models.values()
        return variables.components_of(v for model in models for v in model.metrics_variables)

    def rates(self) -> dict[str, float]:
        """Return the current learning rates."""
        return fingerprint.rates(self._optimizers())

    def is_complete(self) -> bool:
        """Return whether every layer and optimizer has created its variables."""
        return all(variables.are_all_there(model) for model in self.models.values())

    def _here(self, saved: TrainingState) -> Groups:
        """Leave out plain variables of loops that a checkpoint of an earlier version lacks."""
        groups = self._groups()
        if "loop" not in saved:
            return groups
        return {
            name: group
            for name, group in groups.items()
            if name in saved["variables"] or name.partition(".")[0] != "plain"
        }
