"""Choose the Keras that this process follows: the one whose `fit` or model comes first.

A process may import two, e.g. Keras 3 with TensorFlow, and `tf_keras`. All that follows a training
is imported after the choice, and asks :mod:`rekindle.jobs.keras_compat.internals` for its parts.
"""

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rekindle.jobs.keras_compat import keras_support

OTHERS: Final = ("torch", "jax")
"""Libraries of scripts that need no Keras."""
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


def chosen() -> Any:
    """Return what was chosen; None for no Keras."""
    return _chosen[0]


def is_absent() -> bool:
    """Return whether no Keras is followed: the script has imported none."""
    if not _chosen and not _imported():
        others = any(name in sys.modules for name in OTHERS)
        if others or importlib.util.find_spec("keras") is None:
            _chosen.append(None)
    return _chosen[:1] == [None]


def has_tensorflow() -> bool:
    """Return whether objects of TensorFlow can be met."""
    if "tensorflow" in sys.modules:
        return True
    return not is_absent() and backend_of(module()) == keras_support.BACKEND


def runs_elsewhere() -> bool:
    """Return whether a Keras 3 is imported whose backend is not TensorFlow."""
    keras = sys.modules.get("keras")
    return keras is not None and backend_of(keras) != keras_support.BACKEND


def backend_of(keras: Any) -> str:
    """Return the name of the backend of a Keras; legacy Keras has TensorFlow."""
    if keras_support.is_legacy(keras):
        return keras_support.BACKEND
    return str(keras.config.backend())


def _imported() -> bool:
    return any(name in sys.modules for name in ("keras", "tf_keras", "tensorflow"))


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
