"""Read the functions and classes of the job's own code, and the globals that they name."""

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs import code_origin
from rekindle.jobs.bytecode.per_type import PerType

_STORE: Final = dis.opmap["STORE_ATTR"]


def is_own_function(value: Any) -> bool:
    """Return whether a value is a Python function defined in the job's own code."""
    return type(value) is types.FunctionType and code_origin.is_own(value.__code__.co_filename)


def is_own_class(value: Any) -> bool:
    """Return whether a value is a class defined in the job's own code."""
    if not isinstance(value, type):
        return False
    module = sys.modules.get(value.__module__)
    file = vars(module).get("__file__") if module is not None else None
    return isinstance(file, str) and code_origin.is_own(file)


def own_classes(value: Any) -> list[type]:
    """List the classes of an object that the job defines, the most special one first."""
    kind = type(value)
    return list(_own_bases(kind)) if _has_own_base(kind) else []


def _own_bases(kind: type) -> Iterator[type]:
    return (base for base in type.__getattribute__(kind, "__mro__") if is_own_class(base))


_has_own_base = PerType(lambda kind: any(True for _ in _own_bases(kind)))


def functions_of(owner: type) -> Iterator[tuple[str, Any]]:
    """List the functions in the body of a class, those of properties included."""
    for name, value in list(vars(owner).items()):
        found = [value]
        if isinstance(value, staticmethod | classmethod):
            found = [value.__func__]
        elif isinstance(value, property):
            found = [value.fget, value.fset]
        elif isinstance(value, functools.cached_property):
            found = [value.func]
        for function in map(unwrapped, found):
            if is_own_function(function):
                yield name, function


def unwrapped(value: Any) -> Any:
    """Return the function that decorators such as ``functools.wraps`` have wrapped."""
    for _ in range(16):
        kind = type(value)
        if kind is not types.FunctionType and kind.__module__ != "functools":
            break
        if kind is functools.partial or "__wrapped__" not in vars(value):
            break
        value = vars(value)["__wrapped__"]
    return value


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[tuple[str, bool], ...]:
    """List the globals that a function's bytecode names, and whether it stores into each."""
    found: dict[str, bool] = {}
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.setdefault(name, False)
        elif instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found[name] = True
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            for name, stores in global_names(constant):
                found[name] = found.get(name, False) or stores
    return tuple(found.items())


@functools.lru_cache(maxsize=4096)
def all_names(code: types.CodeType) -> frozenset[str]:
    """List the globals, attributes and modules that a function's bytecode names."""
    inner = (all_names(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return frozenset(code.co_names).union(*inner)


def own_module(value: Any) -> types.ModuleType | None:
    """Return a value if it is a module of the job's own code."""
    if type(value) is not types.ModuleType:
        return None
    file = vars(value).get("__file__")
    return value if isinstance(file, str) and code_origin.is_own(file) else None


@functools.lru_cache(maxsize=1024)
def names_written(owner: Any) -> frozenset[str]:
    """List the attributes that a library's classes among the bases of a class assign."""
    found: set[str] = set()
    for base in owner.__mro__:
        if not is_own_class(base):
            for value in vars(base).values():
                function = unwrapped(getattr(value, "fset", None) or value)
                if type(function) is types.FunctionType:
                    found |= _stored(function.__code__)
    return frozenset(found)


def _stored(code: types.CodeType) -> set[str]:
    found: set[str] = set()
    number = 0
    # not dis: it takes 0.3 s for the classes of Keras, in each attempt
    for op, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        number = number << 8 | argument
        if op == _STORE:
            found.add(code.co_names[number])
        if op != dis.EXTENDED_ARG:
            number = 0
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _stored(constant)
    return found


def is_descriptor(value: Any) -> bool:
    """Return whether a class attribute is a function, property or the like, and no state."""
    return _is_descriptor(type(value)) or isinstance(value, type)


_is_descriptor = PerType(
    lambda kind: any("__get__" in vars(base) or "__set__" in vars(base) for base in kind.__mro__)
)


def is_standard_library(top: str) -> bool:
    """Return whether a top-level module belongs to Python itself."""
    return top in sys.stdlib_module_names
