"""Iterators that a callback or a model holds: over datasets, and those of Python itself.

One over a dataset is begun again and takes as many elements. One of Python, e.g. a generator, takes
elements until all that it holds is what it held at the checkpoint.
"""

import collections
import gc
import itertools
import random
import time
import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.capture.codec import Tensors, Unsupported
from rekindle.jobs.data.pipeline import held
from rekindle.jobs.keras_compat.tensorflow_parts import dataset_ops, iterator_ops, tf
from rekindle.jobs.object_kinds import leaves
from rekindle.jobs.object_kinds.kinds import Kind, Leaf, Slot
from rekindle.jobs.object_kinds.values import Unresolvable, type_name

_MOST_TAKEN: Final = 100_000
_LONGEST_S: Final = 60.0
_DEPTH: Final = 6
_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), range, slice, np.generic)
_EMPTY: Final[tuple[Any, ...]] = (
    *([], (), "", b"", range(1), range(1 << 70), set(), reversed([])),
    *({}, {}.values(), {}.items()),
)
_OF_PYTHON: Final = (
    types.GeneratorType,
    *(type(iter(one)) for one in _EMPTY),
    enumerate,
    zip,
    map,
    filter,
    itertools.chain,
    itertools.count,
    itertools.cycle,
    itertools.islice,
    itertools.repeat,
)
_NO_STATE: Final = (
    type,
    types.ModuleType,
    types.CodeType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    tf.data.Dataset,
)

Beat = Callable[[], None]

_NUMPY_ITERATOR: Final[Any] = getattr(dataset_ops, "NumpyIterator", None) or vars(dataset_ops).get(
    "_NumpyIterator"  # before TensorFlow 2.14
)


class DatasetIterator(Leaf):
    """An iterator over a ``tf.data.Dataset``.

    Args:
        beat: called while data is read again; may end the process.
    """

    name, is_iterator = "iterator", True

    def __init__(self, beat: Beat) -> None:
        self._beat = beat

    def digest(self, value: Any) -> str:
        known = held.known(value)
        return "?" if known is None else known.digest

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        known = held.known(value)
        if known is None:
            raise Unsupported("an iterator that began before Keras was imported")
        return {"prefix": prefix, **known.capture(arrays, prefix)}

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        known = held.known(value)
        if known is None:
            raise Unresolvable("an iterator that began before Keras was imported")
        try:
            known.restore(value, body, arrays, body["prefix"], self._beat)
        except tf.errors.OpError as error:
            raise Unresolvable(str(error)) from None


class PythonIterator(Leaf):
    """A generator, or an iterator of Python's builtins and ``itertools``.

    Args:
        beat: called while elements are taken; may end the process.
    """

    name, is_iterator = "iterator of Python", True

    def __init__(self, beat: Beat) -> None:
        self._beat = beat

    def digest(self, value: Any) -> str:
        looked = _Look(value)
        return f"{looked.digest}{'' if looked.complete else '?'}"

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        digest = self.digest(value)
        if digest.endswith("?"):
            raise Unsupported(type_name(type(value)))
        return digest

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        before = random.getstate(), np.random.get_state()
        began, count = time.monotonic(), 0
        try:
            while self.digest(value) != body:
                self._beat()
                count += 1
                if count > _MOST_TAKEN or time.monotonic() - began > _LONGEST_S:
                    raise Unresolvable("an iterator at another position")
                next(value)
        except Unresolvable:
            raise
        except Exception as error:  # the code of a generator may raise anything
            if self.digest(value) != body:
                raise Unresolvable(f"an iterator that ended: {error!r}") from None
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


class Wrapper(Kind):
    """An iterator that holds one over a dataset, such as ``as_numpy_iterator()``."""

    name = "bound"

    def slots(self, value: Any) -> list[Slot]:
        return [Slot("", None, value._iterator, settable=False)]


class IteratorKinds:
    """Choose the kind of an iterator.

    Args:
        beat: called while data is read again; may end the process.
    """

    def __init__(self, beat: Beat) -> None:
        self._dataset, self._python, self._wrapper = (
            DatasetIterator(beat),
            PythonIterator(beat),
            Wrapper(),
        )

    def of(self, value: Any) -> Kind | None:
        """Return the kind of an iterator; None for anything else."""
        if type(value) is iterator_ops.OwnedIterator:
            return self._dataset if held.known(value) is not None else None
        if type(value) is _NUMPY_ITERATOR:
            return self._wrapper
        return self._python if type(value) in _OF_PYTHON else None


class _Look:
    """Look at all that an iterator holds, through the garbage collector, without taking from it.

    Attributes:
        complete: nothing in it is unknown.
    """

    def __init__(self, value: Any) -> None:
        self.complete = True
        self._seen: dict[int, Any] = {}
        self.digest = leaves.digest_array(
            np.frombuffer(repr(self._of(value, 0)).encode(), np.uint8)
        )

    def _of(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _PLAIN or isinstance(value, np.generic):
            return repr(value)
        if isinstance(value, _NO_STATE) or own_code.own_classes(value):
            return ""
        if id(value) in self._seen:
            return "again"
        self._seen[id(value)] = value  # kept, so that no other object gets its id
        if depth > _DEPTH:
            return self._unknown(kind)
        if kind is np.ndarray and not value.dtype.hasobject:
            return leaves.digest_array(value)
        if kind in (random.Random, np.random.Generator, np.random.RandomState):
            return leaves.RANDOM.digest(value)
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
            return leaves.digest_array(np.asarray(value.numpy()))
        if kind is iterator_ops.OwnedIterator:
            known = held.known(value)
            return self._unknown(kind) if known is None else known.digest
        if kind in (list, dict) and leaves.is_large_plain(value):
            return leaves.PLAIN.digest(value)
        if kind is dict:
            return [self._of(one, depth + 1) for pair in value.items() for one in pair]
        if kind in (list, tuple, collections.deque):
            return [self._of(item, depth + 1) for item in value]
        if kind is set or kind is frozenset:
            return sorted(str(self._of(item, depth + 1)) for item in value)
        if kind is types.CellType:
            return [self._of(one, depth + 1) for one in gc.get_referents(value)]
        if kind is types.GeneratorType:
            return self._of_generator(value, depth)
        if kind in _OF_PYTHON:
            return self._of_builtin(value, depth)
        return self._unknown(kind)

    def _of_generator(self, value: Any, depth: int) -> Any:
        frame = value.gi_frame
        if frame is None:
            return "ended"
        if value.gi_running:
            return self._unknown(type(value))
        skipped = {id(frame), id(frame.f_globals), id(frame.f_builtins), id(frame.f_back)}
        held_ = [*gc.get_referents(value), *gc.get_referents(frame)]
        held_ = [one for one in held_ if id(one) not in skipped]
        local = frame.f_locals
        return [
            frame.f_lasti,
            [(name, self._of(local[name], depth + 1)) for name in sorted(local)],
            # what the interpreter holds for a `for` statement has no name
            [self._of(one, depth + 1) for one in held_ if one is not local],
        ]

    def _of_builtin(self, value: Any, depth: int) -> Any:
        hint = getattr(value, "__length_hint__", None)
        found: list[Any] = [type_name(type(value)), hint() if hint is not None else None]
        if type(value) in (itertools.count, itertools.repeat):
            return [*found, repr(value)]
        if type(value) in (enumerate, itertools.cycle, itertools.islice) and hasattr(
            value, "__reduce__"
        ):
            _, *parts = value.__reduce__()
            return [*found, *(self._of(one, depth + 1) for one in parts)]
        return [*found, *(self._of(one, depth + 1) for one in gc.get_referents(value))]

    def _unknown(self, kind: type) -> str:
        self.complete = False
        return type_name(kind)
