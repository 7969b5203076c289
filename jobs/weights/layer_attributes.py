"""Attributes of layers that may hold variables or tables."""

import types
from typing import Any, Final

import numpy as np

from rekindle.jobs.keras_compat.internals import Policy

ATOMS: Final = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes),
        *(types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, type),
        *(np.ndarray, Policy),
    }
)
"""Types whose values hold neither."""
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


def of(layer: Any) -> list[tuple[str, Any]]:
    """List the attributes of a layer by name, without those of which the type says enough."""
    return sorted(
        (item for item in vars(layer).items() if type(item[1]) not in ATOMS),
        key=lambda item: item[0],
    )
