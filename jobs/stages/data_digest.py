"""Digest of data: shapes, types, and a sample of the content, within a bounded time.

numpy only: pipelines of TensorFlow are digested by :mod:`rekindle.jobs.stages.pipeline_digest`.
What differs between two processes of one script (addresses, clock, temporary folders) is left out.
"""

import hashlib
import math
import os
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from rekindle.jobs.stages.key import DataKey
from rekindle.jobs.stages.stable_text import stable_text

_BUDGET: Final = 2 * 2**20
"""Bytes that are read of all arrays together; an array of fewer bytes is read as a whole."""
_LEAST: Final = 2**10
_HEAD: Final = 4 * 2**10
_BLOCKS: Final = 1024
_BLOCK_BYTES: Final = 64
_MOST_ITEMS: Final = 4096
_MOST_FILES: Final = 16
_MOST_TEXTS: Final = 2048
_SAMPLE: Final = 24
_MOST_DEPTH: Final = 6
_TEXTS: Final = 6
_DAY: Final = 86400.0

Special = Callable[["DataDigest", Any], bool]


class DataDigest:
    """Digest values one after the other; see :meth:`key`.

    Args:
        special: handles values of libraries; returns False for others.
        leaves: number of arrays that share the bytes to be read.
    """

    def __init__(self, special: Special | None = None, leaves: int = 1) -> None:
        self._exact = hashlib.blake2b(digest_size=12)
        self._form = hashlib.blake2b(digest_size=12)
        self._seeds = hashlib.blake2b(digest_size=8)
        self._sample: list[float] = []
        self._texts: list[str] = []
        self._special = special
        self._bytes = max(_BUDGET // max(leaves, 1), _LEAST)
        self._items = 0
        self._seen: set[int] = set()

    def key(self) -> DataKey:
        """Return the digests of everything that was added."""
        more = len(self._texts) - _TEXTS
        texts = self._texts[:_TEXTS] + ([f"{more} more"] if more > 0 else [])
        return DataKey(
            self._exact.hexdigest(),
            self._form.hexdigest(),
            tuple(self._sample),
            self._seeds.hexdigest(),
            ", ".join(texts),
        )

    # parts

    def text(self, text: str) -> None:
        """Add a text that is the same in every process."""
        data = text.encode("utf-8", "surrogatepass") + b"\0"
        self._exact.update(data)
        self._form.update(data)

    def floats(self, values: "np.ndarray[Any, Any]") -> None:
        """Add floats: their bits, and some as numbers."""
        self._exact.update(np.ascontiguousarray(values).tobytes())
        if len(self._sample) < _SAMPLE and values.size:
            flat = values.reshape(-1)
            step = max(flat.size // 6, 1)
            some = flat[::step][: _SAMPLE - len(self._sample)]
            self._sample += [_finite(float(value.real)) for value in some]

    def seed(self, value: object) -> None:
        """Add a random seed that the data was given when it was made."""
        self._seeds.update(f"{value}\0".encode())

    def describe(self, text: str) -> None:
        """Add a type or shape, also to the messages."""
        self.text(text)
        self._texts.append(text)

    def take(self, key: DataKey) -> None:
        """Add what another digest has found."""
        self._exact.update(key.exact.encode())
        self._form.update(key.form.encode())
        self._sample += key.sample[: _SAMPLE - len(self._sample)]
        self._texts += [key.text] if key.text else []

    # values

    def add(self, value: Any, depth: int = 0) -> None:
        """Add a value of any kind."""
        self._items += 1
        if self._items > _MOST_ITEMS or depth > _MOST_DEPTH:
            return
        if self._special is not None and self._special(self, value):
            return
        if value is None or isinstance(value, bool | int):
            self.text(repr(value))
        elif isinstance(value, float):
            if not _is_clock(value):
                self.floats(np.asarray(value))
        elif isinstance(value, str | bytes | os.PathLike):
            self.text(_text_of(value))
        elif isinstance(value, np.ndarray):
            self.array(value)
        elif isinstance(value, np.generic):
            self.array(np.asarray(value))
        else:
            self._add_compound(value, depth)

    def _add_compound(self, value: Any, depth: int) -> None:
        if isinstance(value, Mapping):
            self.text(f"dict {len(value)}")
            for name in sorted(value, key=str)[:_MOST_ITEMS]:
                self.text(str(name))
                self.add(value[name], depth + 1)
        elif isinstance(value, list | tuple):
            self.sequence(value, depth)
        elif _is_frame(value):
            self._frame(value)
        elif _is_sparse(value):
            self.describe(f"{type(value).__name__} {tuple(value.shape)}")
            for name in ("data", "indices", "indptr", "row", "col"):
                part = getattr(value, name, None)
                if isinstance(part, np.ndarray):
                    self.array(part, listed=False)
        elif isinstance(value, types.GeneratorType):
            self._generator(value, depth)
        else:
            self.text(f"<{type(value).__name__}>")

    def sequence(self, values: Sequence[Any], depth: int = 0) -> None:
        """Add a list; of a long one some of its values."""
        self.text(f"list {len(values)}")
        if len(values) > 16 and all(isinstance(one, str | os.PathLike) for one in values):
            for one in _spread(values, _MOST_TEXTS):
                self.text(_text_of(one))
            self.files(values)
        elif len(values) > 16 and all(isinstance(one, int | float | bool) for one in values):
            self.array(np.asarray(values), listed=False)
        else:
            for one in _spread(values, 256):
                self.add(one, depth + 1)
            self.files([one for one in values if isinstance(one, str | os.PathLike)])

    def array(self, array: "np.ndarray[Any, Any]", *, listed: bool = True) -> None:
        """Add an array: all of a small one, blocks spread over a large one."""
        (self.describe if listed else self.text)(f"{array.dtype} {array.shape}")
        if array.dtype.kind == "O":
            for one in _spread(array.reshape(-1) if array.size < 10**6 else array.flat, 256):
                self.add(one, _MOST_DEPTH - 1)
            return
        for block in _blocks(array, self._bytes):
            if array.dtype.kind in "fc":
                self.floats(block)
            else:
                data = np.ascontiguousarray(block).tobytes()
                self._exact.update(data)
                self._form.update(data)

    def files(self, paths: Iterable[Any]) -> None:
        """Add size and first bytes of some of the files that exist.

        Not their times: a script may write its files again in each attempt.
        """
        for path in _spread(list(paths), _MOST_FILES):
            try:
                with open(path, "rb") as file:
                    self.text(f"{os.fstat(file.fileno()).st_size}")
                    data = file.read(_HEAD)
            except (OSError, ValueError, TypeError):
                continue
            self._exact.update(data)
            self._form.update(data)

    def attributes(self, thing: Any) -> None:
        """Add the class and the public plain attributes of an object."""
        self.describe(type(thing).__name__)
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        try:
            named = vars(thing)
        except TypeError:
            return
        for name in sorted(map(str, named)):
            if not name.startswith("_"):
                self.text(name)
                self.add(named[name], 2)

    def _frame(self, frame: Any) -> None:
        """Add rows spread over a table of pandas or polars."""
        self.describe(f"{type(frame).__name__} {tuple(frame.shape)}")
        try:
            columns = getattr(frame, "columns", [])
            self.text(" ".join(map(str, columns)))
            rows = _spread(range(frame.shape[0]), 512)
            some = frame.iloc[rows] if hasattr(frame, "iloc") else frame[rows]
            self.array(np.asarray(some.to_numpy()), listed=False)
        except Exception:
            self.text("unreadable")

    def _generator(self, generator: Any, depth: int) -> None:
        """Add the name and the arguments of a generator that has not begun."""
        code, frame = generator.gi_code, generator.gi_frame
        self.describe(f"generator {code.co_name}")
        if frame is None or frame.f_lasti > 8:
            return
        for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            if name in frame.f_locals:
                self.text(name)
                self.add(frame.f_locals[name], depth + 2)


def count_leaves(value: Any, depth: int = 0) -> int:
    """Count the arrays in nested containers, at most some thousands."""
    if depth > _MOST_DEPTH:
        return 1
    if isinstance(value, Mapping):
        return sum(count_leaves(one, depth + 1) for one in list(value.values())[:_MOST_ITEMS])
    if isinstance(value, list | tuple):
        return sum(count_leaves(one, depth + 1) for one in value[:_MOST_ITEMS])
    return 1


def _blocks(array: "np.ndarray[Any, Any]", budget: int) -> Iterable["np.ndarray[Any, Any]"]:
    if array.nbytes <= budget or array.ndim == 0:
        yield np.asarray(array)
        return
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        blocks = max(min(budget // _BLOCK_BYTES, _BLOCKS), 2)
        length = max(budget // blocks // max(array.itemsize, 1), 1)
        last = flat.size - length
        # one array: a digest of each block would cost more than its bytes
        firsts = [last * number // (blocks - 1) for number in range(blocks)]
        yield np.concatenate([flat[first : first + length] for first in firsts])
        return
    row = max(array[0].nbytes, 1)
    rows = max(min(budget // row, 256), 4)
    for index in _spread(range(array.shape[0]), rows):
        part = array[index]
        yield from _blocks(part, max(budget // rows, 256)) if part.nbytes > budget else [part]


def _spread(values: Sequence[Any] | Any, most: int) -> list[Any]:
    """Choose values from the first to the last, evenly."""
    count = len(values)
    if count <= most:
        return list(values)
    return [values[(count - 1) * number // (most - 1)] for number in range(most)]


def _text_of(value: Any) -> str:
    text = os.fspath(value)
    return stable_text(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _is_clock(value: float) -> bool:
    return abs(value - time.time()) < 30 * _DAY


def _is_frame(value: Any) -> bool:
    module = type(value).__module__.partition(".")[0]
    return module in ("pandas", "polars") and hasattr(value, "shape") and hasattr(value, "to_numpy")


def _is_sparse(value: Any) -> bool:
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "shape")
