"""Choose the Keras that this process follows: the one whose `fit` or model comes first.

A process may import two, e.g. Keras 3 with TensorFlow, and `tf_keras`. All that follows a training
is imported after the choice, and asks :mod:`rekindle.jobs.keras_compat.internals` for its parts.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rekindle.jobs.keras_compat import keras_support

_chosen: list[Any] = []


def choose(keras: Any) -> bool:
    """Follow this Keras from now on; False if another one is followed already."""
    if not _chosen:
        _chosen.append(keras)
    return _chosen[0] is keras


def choose_for(things: Any) -> bool:
    """Follow the Keras that objects belong to; False if another one is followed already.

    Args:
        things: models, optimizers or metrics, in lists and dicts.
    """
    names = {name for thing in _flat(things) for name in _packages(thing)}
    for name in ("tf_keras", "keras"):
        if name in names and name in sys.modules:
            return choose(sys.modules[name])
    return True


def _flat(things: Any) -> Iterator[Any]:
    if isinstance(things, dict):
        things = things.values()
    if isinstance(things, Iterable) and not hasattr(type(things), "call"):
        for one in things:
            yield from _flat(one)
    else:
        yield things


def _packages(thing: Any) -> set[str]:
    """Return the packages that a class of an object, or one that it derives from, is defined in."""
    return {base.__module__.partition(".")[0] for base in type(thing).__mro__}


def module() -> Any:
    """Return the Keras that is followed: ``keras`` itself, unless another one was chosen."""
    if not _chosen:
        alone = "keras" not in sys.modules and "tf_keras" in sys.modules
        _chosen.append(importlib.import_module("tf_keras" if alone else "keras"))
    return _chosen[0]


def legacy() -> Any:
    """Return the legacy Keras of this process: ``tf_keras``, or ``keras`` where that is Keras 2."""
    if _chosen and keras_support.is_legacy(_chosen[0]):
        return _chosen[0]
    return importlib.import_module(
        "keras" if "tf_keras" not in sys.modules and _has_keras2() else "tf_keras"
    )


def _has_keras2() -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and keras_support.is_legacy(keras)


def is_legacy() -> bool:
    """Return whether the Keras that is followed is older than Keras 3."""
    return keras_support.is_legacy(module())
