"""SIGTERM within the validation of a ``fit``: save as if the validation had not begun."""

from typing import Any

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.data.fit_data import FitData
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.resume.stage import StageEngine


class Validation:
    """Keep the state before a validation, for a save within it."""

    def __init__(self, engine: StageEngine, model: Any, random: RandomState, data: FitData) -> None:
        self._engine = engine
        self._model = model
        self._random = random
        self._data = data
        self._before: tuple[Json, Tensors] | None = None

    def begins(self) -> None:
        """Copy metrics and RNG state before Keras resets the metrics of the epoch."""
        if self._before is not None:
            return
        self._engine.end_last_steps()
        internals.settle(self._model)
        arrays: Tensors = {}
        metrics = {"metrics": internals.metrics_variables(self._model)}
        state = {
            "metrics": variables.capture(metrics, arrays),
            "random": self._random.capture(arrays)["random"],
            "evals": self._data.evals,
            "hidden": self._data.hidden.capture(arrays),
        }
        self._before = (state, arrays)
        self._engine.session.beat("validation")

    def continues(self, at: Progress) -> None:
        """Save and exit between two batches, if requested."""
        self._engine.session.beat("validation")
        if not shutdown.requested() or self._before is None:
            return
        if not self._data.exact:
            shutdown.exit_saved()
            return
        # a validation does not change weights: replace only what it changes
        state, arrays = self._before
        self._engine.stand(at)
        snapshot = self._engine.capture(
            replaced={"random": state["random"], "evals": state["evals"], "hidden": state["hidden"]}
        )
        snapshot.tensors.update(arrays)
        snapshot.state["variables"].update(state["metrics"])
        self._engine.exit_saved(snapshot)

    def over(self) -> None:
        """Drop the copy at the end of the epoch."""
        self._before = None
        self._data.validation_over()
