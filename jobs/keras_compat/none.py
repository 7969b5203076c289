"""No Keras: the names of :mod:`rekindle.jobs.keras_compat.keras3`, of which nothing can be met.

For loops of other libraries, in processes whose script imports no Keras.
"""

from collections.abc import Callable
from typing import Any, Final

from rekindle.jobs.keras_compat.absent import absent

keras: Final[Any] = absent("keras", __version__="none")

LEGACY: Final = False
BACKEND: Final = "none"
TRACES: Final = False
GLOBAL_GENERATOR: Final = ""
HELD_LAYERS: Final = ""
HELD_VARIABLES: Final[tuple[str, ...]] = ()
KERAS_VARIABLES: Final[tuple[Any, ...]] = ()
OPTIMIZERS: Final[tuple[Any, ...]] = ()
OWN_NAMES: Final[frozenset[str]] = frozenset()
SEED_GENERATORS: Final[tuple[Any, ...]] = ()
PLAIN_FIT: Final[Any] = keras.Model
PLAIN_ITERATOR: Final[Any] = keras.Iterator
KerasTensor: Final[Any] = keras.KerasTensor
PyDataset: Final[Any] = keras.PyDataset
TFDatasetAdapter: Final[Any] = keras.Adapter


def flatten(structure: Any) -> list[Any]:
    """List the leaves of nested lists, tuples and dicts."""
    if isinstance(structure, dict):
        return [leaf for _, one in sorted(structure.items()) for leaf in flatten(one)]
    if isinstance(structure, list | tuple):
        return [leaf for one in structure for leaf in flatten(one)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to the leaves of nested lists, tuples and dicts."""
    if isinstance(structure, dict):
        return type(structure)((k, map_structure(function, v)) for k, v in structure.items())
    if isinstance(structure, list | tuple):
        found = [map_structure(function, one) for one in structure]
        named = hasattr(structure, "_fields")
        return type(structure)(*found) if named else type(structure)(found)
    return function(structure)


def existing_global_generator() -> Any:
    """Return None: there is no Keras."""
    return None


def make_global_generator() -> None:
    """Create nothing."""


def own_random() -> Any:
    """Return None: there is no Keras."""
    return None


def _none(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the script has imported no Keras")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _none
