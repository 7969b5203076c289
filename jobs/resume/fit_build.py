"""What ``fit`` does before its first batch, done by ourselves where it must be known earlier."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rekindle.jobs import keras_compat
from rekindle.jobs.capture.component import Json
from rekindle.jobs.capture.model_state import ModelState

Warn = Callable[[str, str], None]


def user_callbacks(given: Any, warn: Warn) -> list[Any]:
    """Give the user's callbacks in a flat list, with a History, without what we replace."""
    if isinstance(given, keras.callbacks.CallbackList):
        given = given.callbacks
    found = []
    for callback in keras.tree.flatten(given) if given else []:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            warn(
                "The callback BackupAndRestore is left out: rekindle restores "
                "more, and both would restore over each other.",
                "Nothing is to be done.",
            )
        elif not isinstance(callback, keras.callbacks.ProgbarLogger):
            found.append(callback)
    if not any(isinstance(c, keras.callbacks.History) for c in found):
        found.append(keras.callbacks.History())
    return found


def with_hook(given: Any, callbacks: list[Any], hook: Any, model: Any) -> Any:
    """Put the hook behind all callbacks; a list that the user made is filled anew."""
    if not isinstance(given, keras.callbacks.CallbackList):
        return [*callbacks, hook]
    # made by the user with their own parameters: the hook joins it at the end
    progress = [c for c in given.callbacks if isinstance(c, keras.callbacks.ProgbarLogger)]
    given.callbacks[:] = [*callbacks, *progress, hook]
    hook.set_model(model)
    return given


def introduce(callbacks: list[Any], model: Any, arguments: Json, steps: int | None) -> None:
    """Give callbacks their model and parameters, as ``fit`` does."""
    for callback in callbacks:
        callback.set_model(model)
        if not isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            # a list made by the user has its own
            callback.set_params(
                {"verbose": arguments["verbose"], "epochs": arguments["epochs"], "steps": steps}
            )


def iterator_arguments(model: Any, arguments: Json) -> Json:
    """Give what ``fit`` would give its iterator."""
    x, y, weight = keras_compat.without_validation_split(arguments)
    return {
        "x": x,
        "y": y,
        "sample_weight": weight,
        "batch_size": arguments["batch_size"],
        "steps_per_epoch": arguments["steps_per_epoch"],
        "shuffle": arguments["shuffle"],
        "class_weight": arguments["class_weight"],
        "distribute_strategy": model.distribute_strategy,
        "steps_per_execution": model.steps_per_execution,
    }


def build(model: Any, train: Any, models: ModelState, saved: Json, warn: Warn) -> None:
    """Make all variables exist before the first batch, so that they can be restored."""
    with model.distribute_strategy.scope():
        try:
            model._symbolic_build(data_batch=_batch_of(train.element_spec))
            built = True
        except Exception:
            built = False  # e.g. a custom train_step that builds what it needs by itself
    if not saved:
        return
    if not built or ("callbacks" in saved and models.difference(saved) is not None):
        try:
            # tracing a step without running it makes the rest of the variables
            tf.function(model.train_step).get_concrete_function(train.element_spec)
        except Exception as error:
            warn(
                f"The model could not be built before training: {error}.",
                "Build it in the script, e.g. with model.build().",
            )


def _batch_of(spec: Any) -> Any:
    """Give a batch's shapes for Keras' symbolic build; any size of batch that is not fixed."""
    return tf.nest.map_structure(
        lambda s: (
            keras.KerasTensor(tuple(s.shape), s.dtype.name)
            if isinstance(s, tf.TensorSpec)
            else None
        ),
        spec,
    )
