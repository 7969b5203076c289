"""Model state: variables of the models of a stage, and their fingerprint."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from rekindle.jobs.capture import fingerprint, rng, variables
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, ComponentBase, Json
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.capture.variables import Descriptions, Groups, Listing
from rekindle.jobs.evidence.state_digest import Parts, groups_of
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.seeding import trace_draws
from rekindle.jobs.weights import auto_names, finiteness
from rekindle.jobs.weights.auto_names import Renaming
from rekindle.jobs.weights.device_copies import DeviceCopies
from rekindle.jobs.weights.finiteness import NonFinite
from rekindle.jobs.weights.lookup_tables import LookupTables
from rekindle.jobs.weights.seed_paths import is_seed
from rekindle.state.run.training_state import Fingerprint, TrainingState

_TRAINED_WITH: Final = ("optimizer", "metrics")
"""Beginnings of the names of groups whose variables belong to no model."""


class ModelState(ComponentBase):
    """Capture and restore models, optimizers and metrics; a component of every stage.

    Args:
        models: by the label of their variables.
        optimizers: returns them by label; called each time, since some are created late.
        groups: return the variables, in an order fixed by the script.
        random: knows whether seed generators are numbered differently than before.
    """

    def __init__(
        self,
        models: dict[str, Any],
        optimizers: Callable[[], dict[str, Any]],
        groups: Listing,
        random: RandomState,
    ) -> None:
        self.models = models
        trace_draws.number(models.values())
        self._optimizers = optimizers
        self._groups = groups
        self._random = random
        self._described = Descriptions()
        self._finiteness = finiteness.Finiteness()
        self._captured: list[tuple[str, Any]] = []
        self._tables = LookupTables(lambda: list(models.values()))
        self._all: Groups | None = None
        self._parts: list[Any] | None = None
        # the state that was found to fit, and the names in it: compared once while fixed
        self._fits: TrainingState | None = None
        self._renamed: tuple[TrainingState, Renaming] | None = None

    def fix(self) -> None:
        """List the variables once: nothing creates more in a stage that is not trained.

        Call it again where that is not so.
        """
        self._all = self._parts = self._fits = self._renamed = None
        self._all = self._readable()
        self._parts = self.components()

    @contextlib.contextmanager
    def listed(self) -> Iterator[None]:
        """List the variables once while other components capture, too."""
        if self._all is not None:
            yield
            return
        self._all = self._readable()
        self._parts = self.components()
        try:
            yield
        finally:
            self._all = self._parts = None

    def capture_variables(self, arrays: Tensors) -> Json:
        """Copy the values of the variables alone."""
        self._settle()
        return {"variables": variables.capture(self._readable(), arrays, self._described)}

    def capture(self, arrays: Tensors) -> TrainingState:
        self._settle()
        groups = self._readable()
        state: TrainingState = {
            "variables": variables.capture(groups, arrays, self._described, copies=DeviceCopies())
        }
        self._captured = [
            one for one in variables.keys(groups, arrays) if not finiteness.is_exempt(one[0])
        ]
        if mine := rng.numbers_of(self.components()):
            state["seeds_in_models"] = mine
        return state | self._tables.capture(arrays)

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        variables.restore(
            self._here(saved),
            saved["variables"],
            arrays,
            lenient=lenient,
            names=self._renaming(saved),
            checked=self._fits is saved,
            partial="dropped" in saved,
        )
        self._tables.restore(saved, arrays, lenient=lenient)
        self._finiteness.allow(saved.get("non_finite", {}))

    def capture_numbers(self, arrays: Tensors) -> None:
        """Copy the variables of one number that Keras lists itself, e.g. steps and rates."""
        variables.capture_numbers(self._described.readable(self._groups.listed()), arrays)

    def restore_numbers(self, saved: TrainingState, arrays: Tensors) -> None:
        """Restore the variables that there are arrays of, e.g. steps and rates."""
        variables.restore(
            self._here(saved),
            saved["variables"],
            arrays,
            names=self._renaming(saved),
            checked=True,
            partial=True,
        )

    def fingerprint(self) -> Fingerprint:
        names = self._renamed[1].now if self._renamed is not None else None
        return fingerprint.of(list(self.models.values()), self._optimizers(), names)

    def difference(self, saved: TrainingState) -> str | None:
        if self._fits is saved:
            return None
        found = variables.difference(
            self._here(saved), saved["variables"], names=self._renaming(saved)
        )
        if found is None:
            self._random.match(saved, self.components())
        found = found or self._tables.difference(saved)
        if found is None and self._all is not None:
            self._fits = saved
        return found

    def caveats(self) -> list[Caveat]:
        return [
            Caveat(f"The variable {path} has a type that is not saved", "use a type of numpy")
            for path in self._described.unreadable
        ]

    def receipt(self, saved: TrainingState) -> list[str]:
        counts = {group: len(entries) for group, entries in saved["variables"].items()}
        return [f"{count} {group} variables" for group, count in counts.items() if count]

    def judge(self) -> Callable[[Tensors], tuple[NonFinite, bool]]:
        """Return a function of the arrays captured last, which takes long and changes nothing.

        It returns which of them are not finite by design, and whether all others are finite.
        """
        captured, self._captured = self._captured, []

        def judged(arrays: Tensors) -> tuple[NonFinite, bool]:
            found = [(key, variable, arrays[key]) for key, variable in captured]
            allowed, bad = self._finiteness.judge(found)
            return allowed, bad is None

        return judged

    def components(self) -> list[Any]:
        """List the TensorFlow variables of all groups."""
        if self._parts is not None:
            return self._parts
        return variables.components_of(v for group in self._readable().values() for v in group)

    def trainable(self) -> list[Any]:
        """List the TensorFlow variables that training assigns."""
        models = self.models.values()
        return variables.components_of(
            v for model in models for v in internals.trainable_variables(model)
        )

    def metrics(self) -> list[Any]:
        """List the TensorFlow variables of the models' compiled metrics."""
        models = self.models.values()
        return variables.components_of(
            v for model in models for v in internals.metrics_variables(model)
        )

    def parts(self) -> Parts:
        """Return the TensorFlow variables of model, optimizer, metrics and seed generators."""
        self._settle()
        groups = self._described.readable(self._groups.listed())
        found = [(label, variables.components_of(group)) for label, group in groups.items()]
        return groups_of(found, variables.components_of(self._random.variables()))

    def rates(self) -> dict[str, float]:
        """Return the current learning rates."""
        return fingerprint.rates(self._optimizers())

    def setting_variables(self, settings: Mapping[str, Collection[str]]) -> list[Any]:
        """List the variables that are settings of these names, by optimizer."""
        return fingerprint.setting_variables(self._optimizers(), settings)

    def seed_variables(self) -> list[Any]:
        """List the states of the seed generators in the models."""
        groups = self._readable().values()
        return [one for group in groups for one in group if is_seed(variables.path_of(one))]

    def other_model(self, saved: TrainingState) -> str | None:
        """Name the first difference between the weights of the models and the saved ones."""
        names = [name for name in saved["variables"] if not name.startswith(_TRAINED_WITH)]
        here = self._here(saved)
        return variables.difference(
            {name: here.get(name, []) for name in names},
            {name: saved["variables"][name] for name in names},
            names=self._renaming(saved),
        )

    def is_complete(self) -> bool:
        """Return whether every layer and optimizer has created its variables."""
        return all(variables.are_all_there(model) for model in self.models.values())

    def _settle(self) -> None:
        for model in self.models.values():
            internals.settle(model)

    def _readable(self) -> Groups:
        """Return all variables but those whose values cannot be read."""
        if self._all is not None:
            return self._all
        return self._described.readable(self._groups.every())

    def _renaming(self, saved: TrainingState) -> Renaming:
        """Match automatic names with those of the checkpoint."""
        if self._renamed is not None and self._renamed[0] is saved:
            return self._renamed[1]
        before = saved["fingerprint"]
        layers = before.get("layers", [])
        then = before.get("auto_names") or auto_names.ranks((one[0], one[1]) for one in layers)
        now = auto_names.of_models(self.models.values(), self._optimizers().values())
        renaming = Renaming(then, now)
        if self._all is not None:
            self._renamed = saved, renaming
        return renaming

    def _here(self, saved: TrainingState) -> Groups:
        """Leave out variables that a checkpoint of an earlier version lacks."""
        return {
            name: group
            for name, group in self._readable().items()
            if name in saved["variables"]
            or name.partition(".")[0] not in ("untracked", "plain" if "loop" in saved else "")
        }
