"""Steps of ``fit`` before its first batch that must run earlier for a resume."""

from collections.abc import Callable
from typing import Any

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.component import Json
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.capture.rng import RandomState
from rekindle.jobs.capture.variables import Listing
from rekindle.jobs.heartbeat import Plan
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.python_state.component import named
from rekindle.jobs.weights.layer_attributes import HOLDERS, Attributes
from rekindle.state.run.training_state import TrainingState

Warn = Callable[[str, str], None]


def model_state(model: Any, random: RandomState) -> ModelState:
    """Make the component of the model of a `fit`."""
    attributes = Attributes(HOLDERS)
    groups = Listing(lambda: variables.of_model(model, attributes), lambda: variables.listed(model))
    return ModelState({"model": model}, lambda: variables.optimizers(model), groups, random)


def user_callbacks(given: Any, warn: Warn) -> list[Any]:
    """Return the user's callbacks as a flat list, with a History, without replaced ones."""
    if isinstance(given, keras.callbacks.CallbackList):
        given = given.callbacks
    found = []
    for callback in internals.flatten(given) if given else []:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            warn(
                "The callback BackupAndRestore is ignored: rekindle restores "
                "more, and each would overwrite what the other restored.",
                "Remove it to silence this warning.",
            )
        elif not isinstance(callback, keras.callbacks.ProgbarLogger):
            found.append(callback)
    if not any(isinstance(c, keras.callbacks.History) for c in found):
        found.append(keras.callbacks.History())
    return found


def plan(arguments: dict[str, Any], iterator: Any) -> Plan:
    """Return what the arguments, and Keras about the data, say: a generator has no length."""
    return Plan(
        *(
            one if isinstance(one, int) and one > 0 else None
            for one in (arguments["epochs"], iterator.num_batches)
        )
    )


def with_hooks(given: Any, first: Any, callbacks: list[Any], last: Any, model: Any) -> Any:
    """Put hooks around the callbacks; replace the content of a CallbackList in place."""
    if not isinstance(given, keras.callbacks.CallbackList):
        return [first, *callbacks, last]
    # a CallbackList of the user keeps its own parameters
    progress = [c for c in given.callbacks if isinstance(c, keras.callbacks.ProgbarLogger)]
    given.callbacks[:] = [first, *callbacks, *progress, last]
    for hook in (first, last):
        hook.set_model(model)
    return given


def introduce(callbacks: list[Any], model: Any, arguments: Json, steps: int | None) -> None:
    """Set model and parameters of callbacks, as ``fit`` does."""
    for callback in callbacks:
        callback.set_model(model)
        if not isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            # a CallbackList of the user has its own parameters
            callback.set_params(
                {"verbose": arguments["verbose"], "epochs": arguments["epochs"], "steps": steps}
            )


def history_of(callbacks: list[Any]) -> Any:
    """Return the History among callbacks."""
    return next(c for c in callbacks if isinstance(c, keras.callbacks.History))


def python_roots(model: Any, arguments: Json, callbacks: list[Any]) -> dict[str, Any]:
    """Name the objects of a ``fit`` from which Python state is reached."""
    data = {"data": arguments["x"], "validation data": arguments["validation_data"]}
    followed = {name: one for name, one in data.items() if isinstance(one, internals.PyDataset)}
    return {"model": model, **followed, **named(callbacks)}


def build(model: Any, train: Any, models: ModelState, saved: TrainingState, warn: Warn) -> None:
    """Create all variables before the first batch, so that they can be restored."""
    was_built = internals.is_built(model)
    with internals.scope(model):
        try:
            # the specification of arrays costs 0.1 s, for each of hundreds of finished stages
            if not was_built:
                internals.build(model, train)
            built = True
        except Exception:
            built = False  # e.g. a custom train_step that creates variables itself
    if not saved:
        return
    if saved["position"]["end"] and not was_built:
        models.fix()
    if not built or ("callbacks" in saved and models.difference(saved) is not None):
        try:
            # tracing a step without running it creates the other variables
            internals.trace(model, train)
        except Exception as error:
            warn(
                f"The model could not be built before training: {error}.",
                "Build it in the script: model.build(input_shape).",
            )
        if saved["position"]["end"]:
            models.fix()
