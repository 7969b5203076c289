"""Express immutable values as JSON, with references to mutable objects by their path."""

import base64
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import json
import pathlib
import time
import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np

Expr = Any
"""A value as JSON; every object in it has one key, its tag."""

Refer = Callable[[Any], "str | None"]
"""Return the path of a mutable object; None for one that is not followed."""

PLAIN: Final = frozenset({bool, int, float, str, type(None)})
"""Types whose values are JSON themselves."""
_BY_TEXT: Final[dict[type, str]] = {
    decimal.Decimal: "decimal",
    fractions.Fraction: "fraction",
    pathlib.PosixPath: "path",
    pathlib.PurePosixPath: "purepath",
}
_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "decimal": decimal.Decimal,
    "fraction": fractions.Fraction,
    "path": pathlib.Path,
    "purepath": pathlib.PurePosixPath,
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
}
_LONG: Final = 24
_REMEMBERED: Final = 200


_WITHIN_S: Final = 30 * 86400
_CLOCKS: Final = (time.time, time.monotonic, time.perf_counter)


# made once: each binding of each walk is digested
_ENCODE: Final = json.JSONEncoder(sort_keys=True).encode
_QUOTED: Final = json.encoder.encode_basestring_ascii


class Unresolvable(LookupError):
    """A value of a checkpoint cannot be made in this process; the text names its type."""


def express(value: Any, refer: Refer) -> Expr:
    """Express a value as JSON."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple:
        return {"tuple": [express(item, refer) for item in value]}
    if kind is frozenset:
        items = [express(item, refer) for item in value]
        return {"frozenset": sorted(items, key=canonical)}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if issubclass(kind, np.generic) and kind.__module__ == "numpy" and not value.dtype.hasobject:
        return {"scalar": [value.dtype.str, base64.b64encode(value.tobytes()).decode()]}
    if kind in _BY_TEXT:
        return {_BY_TEXT[kind]: str(value)}
    if kind is dt.datetime or kind is dt.date:
        return {kind.__name__: value.isoformat()}
    if kind is dt.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is range or kind is slice:
        parts = (value.start, value.stop, value.step)
        return {kind.__name__: [express(part, refer) for part in parts]}
    if issubclass(kind, enum.Enum):
        return {"enum": [type_name(kind), value._name_]}
    if issubclass(kind, tuple) and isinstance(vars(kind).get("_fields"), tuple):
        items = [express(item, refer) for item in tuple.__iter__(value)]
        return {"named": [type_name(kind), items]}
    path = refer(value)
    return {"opaque": type_name(kind)} if path is None else {"ref": path}


def resolve(expr: Expr, find: Callable[[str], Any], classes: dict[str, type]) -> Any:
    """Return the value that was expressed.

    Args:
        find: returns the object at a path.
        classes: of enumerations and named tuples that this process has met, by their name.

    Raises:
        Unresolvable: something in it cannot be made.
    """
    if not isinstance(expr, dict):
        return expr
    ((tag, body),) = expr.items()
    if tag == "ref":
        return find(body)
    if tag in ("tuple", "frozenset", "slice", "range"):
        items = [resolve(item, find, classes) for item in body]
        if tag == "tuple":
            return tuple(items)
        if tag == "frozenset":
            return frozenset(items)
        return slice(*items) if tag == "slice" else range(*items)
    if tag == "bytes":
        return base64.b64decode(body)
    if tag == "complex":
        return complex(*body)
    if tag == "scalar":
        return np.frombuffer(base64.b64decode(body[1]), np.dtype(body[0]))[0]
    if tag == "timedelta":
        return dt.timedelta(*body)
    if tag in _FROM_TEXT:
        return _FROM_TEXT[tag](body)
    if tag in ("enum", "named"):
        owner = classes.get(body[0])
        if tag == "enum" and isinstance(owner, enum.EnumMeta):
            return owner.__members__[body[1]]
        if tag == "named" and owner is not None and issubclass(owner, tuple):
            return tuple.__new__(owner, [resolve(item, find, classes) for item in body[1]])
        raise Unresolvable(body[0])
    raise Unresolvable(body if tag == "opaque" else tag)


def references(expr: Expr) -> list[str]:
    """List the paths that an expressed value refers to."""
    if isinstance(expr, list):
        return [path for item in expr for path in references(item)]
    if not isinstance(expr, dict):
        return []
    ((tag, body),) = expr.items()
    return [body] if tag == "ref" else references(body)


def opaque(expr: Expr) -> list[str]:
    """List the types of what an expressed value does not contain."""
    if isinstance(expr, list):
        return [name for item in expr for name in opaque(item)]
    if not isinstance(expr, dict):
        return []
    ((tag, body),) = expr.items()
    return [body] if tag == "opaque" else opaque(body)


def canonical(expr: Expr) -> str:
    """Return the JSON of an expressed value."""
    kind = type(expr)
    if kind is str:
        return _QUOTED(expr)
    if kind is int:
        return int.__repr__(expr)
    return _ENCODE(expr)


def digest(expr: Expr) -> str:
    """Return a short text that differs for different values."""
    if type(expr) is dict and len(expr) == 1:
        ((tag, body),) = expr.items()
        if type(body) is str and len(body) < _REMEMBERED:
            return _digest_of_tagged(tag, body)  # paths and types: the same at each walk
    return _digest(expr)


@functools.lru_cache(maxsize=8192)
def _digest_of_tagged(tag: str, body: str) -> str:
    return _digest({tag: body})


def _digest(expr: Expr) -> str:
    text = canonical(expr)
    if len(text) <= _LONG:
        return text
    return "#" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def readable(path: str, label: str = "") -> str:
    """Return a path as a message shows it."""
    path = path.replace("+", "").replace("~", "")
    return label if path.startswith(("globals of ", "locals of ")) else path + label


def type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def is_callable_type(kind: type) -> bool:
    """Return whether a type is one of functions, methods or classes."""
    return issubclass(
        kind,
        types.FunctionType
        | types.BuiltinFunctionType
        | types.MethodType
        | types.MethodDescriptorType
        | types.MethodWrapperType
        | types.WrapperDescriptorType
        | type,
    )


def is_clock_reading(value: Any) -> bool:
    """Return whether a number is a recent reading of a clock: another attempt has another."""
    if type(value) not in (int, float) or not value:
        return False
    for clock in _CLOCKS:
        now = clock()
        for scale in (1.0, 1e3, 1e9):
            age = now - value / scale
            fractional = type(value) is float and value != int(value)
            if -60 < age < min(_WITHIN_S, now / 2) and (fractional or value > 1e9):
                return True
    return False
