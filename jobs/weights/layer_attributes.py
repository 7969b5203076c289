"""Attributes of layers that hold variables or lookup tables."""

import operator
from collections.abc import Collection, Iterator
from typing import Any, Final

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.bytecode.per_object import PerObject
from rekindle.jobs.bytecode.per_type import PerType
from rekindle.jobs.keras_compat.internals import KERAS_VARIABLES
from rekindle.jobs.keras_compat.tensorflow_parts import tf

TABLES: Final = (
    tf.lookup.StaticHashTable,
    tf.lookup.experimental.MutableHashTable,
    tf.lookup.experimental.DenseHashTable,
    tf.lookup.StaticVocabularyTable,
)
ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types whose values are asked most, and hold nothing."""
HOLDERS: Final = (list, tuple, dict, *KERAS_VARIABLES, tf.Variable, tf.Module)
"""Types whose values are variables or may hold some."""
_IS_HOLDER: Final = PerType(lambda kind: issubclass(kind, HOLDERS))
_WRAPPER: Final = "TorchModuleWrapper"


def config_of(thing: Any) -> Any:
    """Return the settings of a layer, optimizer or the like; None if it has no working ones.

    Those of a wrapped module of PyTorch hold its weights: here its text stands for them.
    """
    module = getattr(thing, "module", None) if type(thing).__name__ == _WRAPPER else None
    try:
        if module is not None:
            return {"module": repr(module), "output_shape": str(thing.output_shape)}
        return thing.get_config()
    except Exception:
        return None  # custom layers may raise anything


def may_hold(value: Any) -> bool:
    """Return whether a value is a variable or may hold some."""
    kind = type(value)
    return _IS_HOLDER(kind) or (value.__class__ is not kind and isinstance(value, HOLDERS))


def held_in(value: Any, known: Collection[int]) -> Iterator[Any]:
    """Yield what a list, tuple or dictionary holds that is a variable or may hold some.

    Args:
        known: identities of what is left out, as of when it is reached.
    """
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for item in value:
        if type(item) not in ATOMS and identity_of(item) not in known and may_hold(item):
            yield item


class Attributes:
    """List attributes of layers, and remember those of Keras' own layers until one is set.

    Args:
        kinds: types of the values that are listed.
    """

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self._kinds = kinds
        self._known: PerObject[tuple[list[Any], list[tuple[str, Any]]]] = PerObject()

    def begin(self) -> "Attributes":
        """Begin a listing, and forget the layers that the one before did not ask for."""
        self._known.begin()
        return self

    def of(self, layer: Any) -> list[tuple[str, Any]]:
        """List the attributes with a value of these types, sorted by name."""
        held = dict(vars(layer))
        made_of = [*held, *held.values()]
        before, found = self._known.get(layer) or ([], [])
        if len(before) == len(made_of) and all(map(operator.is_, before, made_of)):
            return found
        found = sorted(
            (
                (name, value)
                for name, value in held.items()
                if isinstance(value, self._kinds) and not _is_constant(value)
            ),
            key=lambda one: one[0],
        )
        if not own_code.own_classes(layer):
            # what a class of the script binds may have to end at once, e.g. an open file
            self._known.put(layer, (made_of, found))
        return found


def _is_constant(value: Any) -> bool:
    """Return whether a value is a tuple that never holds anything, e.g. a size."""
    return type(value) is tuple and ATOMS.issuperset(map(type, value))
