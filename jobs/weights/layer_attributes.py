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


def of(layer: Any) -> list[tuple[str, Any]]:
    """List the attributes of a layer by name, without those of which the type says enough."""
    return sorted(
        (item for item in vars(layer).items() if type(item[1]) not in ATOMS),
        key=lambda item: item[0],
    )
