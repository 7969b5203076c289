"""Kinds of mutable objects: how each is read, and restored in place.

Objects are read through their dictionaries and slots alone: a property or ``__getattr__`` of the
script could change what it reads.
"""

import collections
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.bytecode.per_type import PerType
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.object_kinds.values import type_name


class Slot(NamedTuple):
    """Name one binding of an object.

    Attributes:
        label: what it adds to the path of its object.
        key: the attribute, index or key.
        value: what is bound.
        settable: False for a part that is followed and never replaced.
    """

    label: str
    key: Any
    value: Any
    settable: bool = True


class Kind:
    """Read and restore objects of one kind.

    Attributes:
        name: in checkpoints.
        whole: all bindings are restored together, or none.
        made: a new object of this kind can be made.
        partial: a binding that is absent was not removed.
    """

    name = ""
    whole = False
    made = False
    partial = False

    def slots(self, value: Any) -> Iterable[Slot]:
        """List the bindings of an object."""
        return ()

    def made_of(self, value: Any) -> list[Any] | None:
        """List the objects that its bindings are read from: the same ones give the same bindings.

        They are kept alive until the next walk. None where that would matter, or is not known.
        """
        return None

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        """Bind an item."""
        raise NotImplementedError

    def remove(self, value: Any, slot_key: Any) -> None:
        """Remove a binding."""

    def is_open(self, value: Any, label: str) -> bool:
        """Return whether a binding is restored now."""
        return True

    def key_of(self, value: Any, label: str, key: Any) -> Any:
        """Return the key of a binding that does not exist now, given that of the checkpoint."""
        return label.removeprefix(".")

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        """Replace all bindings, given as keys and items."""
        for key, item in items:
            self.put(value, key, item)

    def make(self, type_: str) -> Any:
        """Return a new, empty object."""
        raise NotImplementedError

    def path(self, value: Any, parent: str, slot: Slot) -> str:
        """Return the path of a binding, given that of its object."""
        return parent + slot.label


class Leaf(Kind):
    """Read and restore objects whose content are numbers, all at once.

    Attributes:
        is_iterator: its objects are iterators, which are restored by taking from them.
    """

    whole = True
    is_iterator = False

    def digest(self, value: Any) -> str:
        """Return a short text that differs for different contents."""
        raise NotImplementedError

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        """Return the content as JSON and arrays.

        Raises:
            Unsupported: it cannot be saved.
        """
        raise NotImplementedError

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        """Restore a content in place.

        Raises:
            Unresolvable: it does not fit.
        """
        raise NotImplementedError

    def new(self, body: Any, arrays: Tensors) -> Any:
        """Return a new object with this content; where ``made``."""
        raise NotImplementedError


class ListKind(Kind):
    """A list, or an object of a class derived from it."""

    name, whole, made = "list", True, True

    def slots(self, value: Any) -> Iterator[Slot]:
        for index, item in enumerate(list.__iter__(value)):
            yield Slot(f"[{index}]", index, item)

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        # Keras' own lists track what enters; what is restored is tracked already
        base: Any = type(value) if type(value).__module__.startswith("tensorflow.") else list
        base.__setitem__(value, slice(None), [item for _, item in items])

    def make(self, type_: str) -> Any:
        return []


class DequeKind(Kind):
    """A ``collections.deque``."""

    name, whole, made = "deque", True, True

    def slots(self, value: Any) -> Iterator[Slot]:
        for index, item in enumerate(tuple(value)):
            yield Slot(f"[{index}]", index, item)

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        value.clear()
        value.extend(item for _, item in items)

    def make(self, type_: str) -> Any:
        return collections.deque(
            maxlen=int(type_.partition(":")[2] or -1) if ":" in type_ else None
        )


class SetKind(Kind):
    """A set."""

    name, whole, made = "set", True, True

    def slots(self, value: Any) -> Iterator[Slot]:
        for item in set.__iter__(value):
            yield Slot("{}", None, item)

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        set.clear(value)
        set.update(value, [item for _, item in items])

    def make(self, type_: str) -> Any:
        return set()


_FACTORIES: Final[dict[str, Any]] = {
    type_name(kind): kind for kind in (list, dict, set, int, float, str, collections.deque)
}
_DICTS: Final[dict[str, Any]] = {
    type_name(kind): kind for kind in (dict, collections.OrderedDict, collections.Counter)
}


class DictKind(Kind):
    """A dictionary."""

    name, made = "dict", True

    def slots(self, value: Any) -> Iterator[Slot]:
        for key, item in list(dict.items(value)):
            yield Slot(f"[{key!r}]" if _is_plain(key) else f"[{type(key).__name__}]", key, item)

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        _dict(value).__setitem__(value, slot_key, item)

    def remove(self, value: Any, slot_key: Any) -> None:
        _dict(value).pop(value, slot_key, None)

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        _dict(value).clear(value)
        for key, item in items:
            self.put(value, key, item)

    def key_of(self, value: Any, label: str, key: Any) -> Any:
        return key

    def make(self, type_: str) -> Any:
        kind, _, factory = type_.partition(":")
        if kind == type_name(collections.defaultdict):
            return collections.defaultdict(_FACTORIES.get(factory))
        return _DICTS.get(kind, dict)()


def _dict(value: Any) -> Any:
    return collections.OrderedDict if issubclass(type(value), collections.OrderedDict) else dict


class WrappedDictKind(DictKind):
    """A dictionary in the proxy that TensorFlow puts around it in attributes of a module."""

    name, made = "wrapped dict", False

    def slots(self, value: Any) -> Iterator[Slot]:
        return super().slots(value.__wrapped__)

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        value[slot_key] = item

    def remove(self, value: Any, slot_key: Any) -> None:
        value.pop(slot_key, None)

    def fill(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        value.clear()
        value.update(items)


def _is_plain(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_is_plain, key))
    return key is None or type(key) in (str, int, float, bool, bytes)


class ObjectKind(Kind):
    """An object with attributes."""

    name = "object"

    def slots(self, value: Any) -> Iterator[Slot]:
        for owner in own_code.own_classes(value):
            yield Slot(f"<{owner.__name__}>", owner, owner, settable=False)
        left_out = self.left_out(value)
        for key, item in list(attributes(value).items()):
            if key not in left_out:
                yield Slot(f".{key}", key, item)
        for key, member in members(value).items():
            try:
                if key not in left_out:
                    yield Slot(f".{key}", key, member.__get__(value))
            except AttributeError:
                continue

    def left_out(self, value: Any) -> frozenset[Any]:
        """Return the names of attributes that are no state of the script."""
        return frozenset()

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        member = members(value).get(slot_key)
        if member is not None:
            member.__set__(value, item)
        else:
            attributes(value)[slot_key] = item

    def remove(self, value: Any, slot_key: Any) -> None:
        attributes(value).pop(slot_key, None)

    def path(self, value: Any, parent: str, slot: Slot) -> str:
        return slot.value.__qualname__ if slot.label.startswith("<") else parent + slot.label


def is_plain_class(owner: Any) -> bool:
    """Return whether a new object of a class is one that ``object.__new__`` has made.

    So do ``copy`` and ``pickle``; a class that has a way of its own is left to the script.
    """
    own = ("__new__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")
    return own_code.is_own_class(owner) and all(
        base is object
        or base.__module__ in ("abc", "typing")
        or (own_code.is_own_class(base) and not any(name in vars(base) for name in own))
        for base in owner.__mro__
    )


def attributes(value: Any) -> dict[str, Any]:
    """Return the dictionary of an object, itself; an empty one where it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) and found is not value else {}


def members(value: Any) -> dict[str, Any]:
    """Return the slots of an object, by name."""
    found: dict[str, Any] = {}
    kind = type(value)
    if not _has_slots(kind):
        return found
    for owner in type.__getattribute__(kind, "__mro__"):
        if "__slots__" in vars(owner):
            for name, member in vars(owner).items():
                if isinstance(member, types.MemberDescriptorType):
                    found.setdefault(name, member)
    return found


_has_slots = PerType(
    lambda kind: any("__slots__" in vars(owner) for owner in type.__getattribute__(kind, "__mro__"))
)


class ClassKind(Kind):
    """A class of the job: its plain class attributes, and its functions."""

    name = "class"

    def slots(self, value: Any) -> Iterator[Slot]:
        functions = dict(own_code.functions_of(value))
        for key, function in functions.items():
            yield Slot(f".{key}", key, function, settable=False)
        for key, item in list(vars(value).items()):
            if key.startswith("__") or key in functions or key == "_abc_impl":
                continue
            if own_code.is_descriptor(item):
                continue
            yield Slot(f".{key}", key, item)

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        type.__setattr__(value, slot_key, item)

    def remove(self, value: Any, slot_key: Any) -> None:
        if slot_key in vars(value):
            type.__delattr__(value, slot_key)


class FunctionKind(Kind):
    """A function of the job: the variables of its closure, and its defaults."""

    name = "function"

    def slots(self, value: Any) -> Iterator[Slot]:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield Slot(f"<{name}>", cell, cell.cell_contents)
            except ValueError:
                continue  # not assigned yet
        named = {**dict(enumerate(value.__defaults__ or ())), **(value.__kwdefaults__ or {})}
        for key, item in named.items():
            yield Slot(f"(default {key})", key, item, settable=False)
        for key, item in list(vars(value).items()):
            if key != "__wrapped__":
                yield Slot(f".{key}", key, item)
            else:
                yield Slot("", key, own_code.unwrapped(value), settable=False)

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        if isinstance(slot_key, types.CellType):
            types.CellType.cell_contents.__set__(slot_key, item)
        else:
            vars(value)[slot_key] = item

    def remove(self, value: Any, slot_key: Any) -> None:
        if not isinstance(slot_key, types.CellType):
            vars(value).pop(slot_key, None)

    def key_of(self, value: Any, label: str, key: Any) -> Any:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if label == f"<{name}>":
                return cell
        return label.removeprefix(".")


class BoundKind(Kind):
    """A bound method or ``functools.partial``: what it is bound to."""

    name = "bound"

    def slots(self, value: Any) -> Iterator[Slot]:
        if isinstance(value, functools.partial):
            yield Slot("", "func", value.func, settable=False)
            for index, item in enumerate(value.args):
                yield Slot(f"({index})", index, item, settable=False)
            for key, item in value.keywords.items():
                yield Slot(f"({key})", key, item, settable=False)
        else:
            yield Slot("", "self", value.__self__, settable=False)
            if isinstance(value, types.MethodType):
                yield Slot("", "func", value.__func__, settable=False)

    def path(self, value: Any, parent: str, slot: Slot) -> str:
        return f"{parent}.__self__" if slot.key == "self" else parent + slot.label


class Globals:
    """The globals of one module, as far as functions of the job name them.

    Args:
        namespace: the dictionary itself.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.names: dict[str, None] = {}

    @property
    def label(self) -> str:
        name = self.namespace.get("__name__")
        return "" if name == "__main__" else f"{name}."


class GlobalsKind(Kind):
    """Globals of a module."""

    name = "globals"

    def slots(self, value: Any) -> Iterator[Slot]:
        for name in value.names:
            if name in value.namespace:
                yield Slot(name, name, value.namespace[name])

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        value.namespace[slot_key] = item

    def remove(self, value: Any, slot_key: Any) -> None:
        value.namespace.pop(slot_key, None)

    def path(self, value: Any, parent: str, slot: Slot) -> str:
        if isinstance(slot.value, type):
            return slot.value.__qualname__
        return str(value.label) + slot.label


LIST, DEQUE, SET, DICT = ListKind(), DequeKind(), SetKind(), DictKind()
WRAPPED_DICT = WrappedDictKind()
OBJECT, CLASS, FUNCTION, BOUND, GLOBALS = (
    ObjectKind(),
    ClassKind(),
    FunctionKind(),
    BoundKind(),
    GlobalsKind(),
)
