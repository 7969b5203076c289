"""Digest of models: architecture and optimizer for the key, and the state a stage begins with."""

import hashlib
import json
import random
import re
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture import rng, variables
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.stages.data_digest import DataDigest
from rekindle.jobs.stages.key import Entry
from rekindle.jobs.weights import layer_attributes
from rekindle.jobs.weights.raw_arrays import value_of
from rekindle.jobs.weights.seed_paths import is_seed

_NUMBER: Final = re.compile(r"_\d+$")
_OF_NAMES: Final = frozenset({"keras_history", "input_layers", "output_layers"})
"""Settings in which a model refers to its layers by name."""


def architecture(models: Iterable[Any]) -> str:
    """Digest classes and settings of all layers, without numbers in automatic names."""
    found = [
        [type(model).__name__, [_layer(layer) for layer in _layers(model)]] for model in models
    ]
    return _digest(found)


def optimizers(found: dict[str, Any]) -> str:
    """Digest classes and settings of optimizers, without learning rates that are numbers."""
    return _digest(
        {
            label: [type(optimizer).__name__, without_rates(_config(optimizer))]
            for label, optimizer in found.items()
        }
    )


def loss(model: Any) -> str:
    """Name the compiled loss."""
    return _loss_text(getattr(model, "loss", None))[:200]


def entry(groups: dict[str, list[Any]], models: Iterable[Any], weights: str | None = None) -> Entry:
    """Digest the weights that a stage begins with, and the states of all random generators.

    Args:
        weights: their digest, if it is known and the variables do not have their values.
    """
    if weights is not None:
        return Entry(weights, _random())
    digest = DataDigest(leaves=max(sum(map(len, groups.values())), 1))
    for variable in (one for group in groups.values() for one in group):
        if not is_seed(variables.path_of(variable)):
            _add_variable(digest, variable)
    for model in models:
        for layer in _layers(model):
            if not layer.built:
                digest.text(type(layer).__name__)
                for name, value in sorted(vars(layer).items()):
                    seed = getattr(value, "seed", None)
                    if isinstance(seed, int):
                        digest.text(f"{name} {seed}")
    return Entry(digest.key().exact, _random())


def _random() -> str:
    found = hashlib.blake2b(digest_size=12)
    found.update(repr(random.getstate()).encode())
    for part in np.random.get_state():  # noqa: NPY002 - the script may draw from it
        found.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
    states = rng.fingerprint()
    for name in ("eager", "keras"):
        found.update(states.get(name, b""))
    return found.hexdigest()


def _add_variable(digest: DataDigest, variable: Any) -> None:
    component = variables.components(variable)[0]
    size = int(np.prod(component.shape)) if None not in component.shape else 0
    dtype = variables.dtype_of(component)
    digest.text(f"{dtype} {tuple(component.shape)}")
    if dtype == "string":
        return
    if size <= 2**16:
        array = np.asarray(value_of(component))
    elif not hasattr(component, "handle"):
        array = np.asarray(value_of(component)).reshape(-1)[:: max(size // 16384, 1)]
    else:
        import tensorflow as tf

        # on the device: only what is compared is copied to the host
        flat = tf.reshape(component, [-1])
        array = flat[:: max(size // 16384, 1)].numpy()
    digest.array(array.view(np.uint8) if array.dtype.kind == "V" else array, listed=False)


def _layers(model: Any) -> list[Any]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False, recursive=True)
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _layer(layer: Any) -> list[Any]:
    config = _config(layer)
    if isinstance(layer, keras.Model) or not isinstance(config, dict):
        return [type(layer).__name__]  # its layers are listed, too
    unbuilt = {k: v for k, v in config.items() if k not in ("build_config", "name")}
    return [type(layer).__name__, without_numbers(unbuilt)]


def _config(thing: Any) -> Any:
    return layer_attributes.config_of(thing)


def without_numbers(config: Any, *, names: bool = False) -> Any:
    """Remove numbers from names: those of automatic names count the layers of a process."""
    if isinstance(config, dict):
        return {
            key: without_numbers(value, names=names or key in _OF_NAMES or key == "name")
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [without_numbers(value, names=names) for value in config]
    return _NUMBER.sub("", config) if names and isinstance(config, str) else config


def without_rates(config: Any) -> Any:
    """Leave out names, and learning rates that are numbers, at any depth."""
    if not isinstance(config, dict):
        return config
    return {
        key: without_rates(value)
        for key, value in config.items()
        if key != "name"
        and not (key == "learning_rate" and isinstance(value, int | float | np.generic))
    }


def _loss_text(value: Any) -> str:
    if isinstance(value, dict):
        return str({str(key): _loss_text(one) for key, one in value.items()})
    if isinstance(value, list | tuple):
        return str([_loss_text(one) for one in value])
    if isinstance(value, str) or value is None:
        return str(value)
    return str(getattr(value, "__name__", None) or type(value).__name__)


def _digest(value: Any) -> str:
    text = json.dumps(value, default=_by_type, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_type(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        digest = DataDigest()
        digest.array(value)
        return digest.key().exact
    if isinstance(value, np.generic):
        return _shortened(value.item())
    return f"<{type(value).__name__}>"


def _shortened(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else str(value)
