"""Describe a call of ``fit``, or a loop that begins: its key, its entry and the way to it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.tracked_objects import TrackedModels
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.stages import model_digest, pipeline_digest, way
from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.key import StageKey
from rekindle.jobs.stages.stable_text import stable_text

_DATA: Final = ("x", "y", "sample_weight", "validation_data", "class_weight")
_NOT_DECIDING: Final = frozenset({"epochs", "initial_epoch", "verbose", "callbacks"})


def fit(model: Any, arguments: dict[str, Any], weights: str | None = None) -> Call | None:
    """Describe a call of ``fit`` by its arguments; None where that fails.

    Args:
        weights: digest of the weights, if the model does not have them.
    """

    def made() -> Call:
        key = StageKey(
            "fit",
            model_digest.architecture([model]),
            model_digest.optimizers(variables.optimizers(model)),
            {
                name: stable_text(repr(value))[:60]
                for name, value in sorted(arguments.items())
                if name not in _DATA
                and name not in _NOT_DECIDING
                and (value is None or isinstance(value, bool | int | float | str))
            },
            pipeline_digest.of({name: arguments[name] for name in _DATA}),
            model_digest.loss(model),
        )
        return Call(
            key,
            model_digest.entry({"model": internals.model_variables(model)}, [model], weights),
            way.here(),
            bool(arguments["initial_epoch"] or internals.initial_epoch(model)),
        )

    return _checked(made)


def loop(tracked: TrackedModels, names: Iterable[str]) -> Call | None:
    """Describe a loop by what it trains; ``names`` are those of its other state."""

    def made() -> Call:
        models = tracked.models.values()
        key = StageKey(
            "loop",
            model_digest.architecture(models),
            model_digest.optimizers(tracked.optimizers),
            {"the names in state=": ", ".join(sorted(names))},
        )
        groups = {
            label: internals.model_variables(model) for label, model in tracked.models.items()
        }
        return Call(key, model_digest.entry(groups, models), way.here())

    return _checked(made)


def _checked(make: Callable[[], Call]) -> Call | None:
    """Call ``make``, which reads objects of any kind: a failure must not end the training."""
    try:
        return make()
    except Exception as error:
        log_line(f"stage taken by its order, since its content cannot be read: {error!r}.")
        return None
