"""Digest variables where they are, at sparse steps: a wrong slot need not show in the loss at once.

A digest is a CRC of the bits of each group. On the CPU it reads the buffers of the variables in
place; on another device each variable is first reduced there to sums of its bits, so that few bytes
are copied. It draws nothing, assigns nothing and traces nothing.
"""

import itertools
import math
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from rekindle.jobs.evidence.step_record import MOST_KINDS, Digest
from rekindle.jobs.journal_writer import log_line

SHARE: Final = 0.001
"""Part of the training time that digests may take."""
AHEAD_S: Final = 0.002
"""Seconds that they may take besides: a training killed early has some to compare, too."""
_AFTER_SAVE: Final = 1
_EPOCH: Final = 2
_ANY: Final = 8
"""For how many digests there must be time at a step: some is left for the steps after saves."""
_BYTES_A_SECOND: Final = 1e9
_EACH_S: Final = 4e-5
_EACH_ELSEWHERE_S: Final = 5e-4
_ITEM: Final = 4
"""Bytes of an item, about, of a variable of another library than TensorFlow."""
_HOST: Final = ":CPU:0"
_COLUMNS: Final = 1024
_LAYOUT: Final = struct.Struct("<QQ")

_Result = TypeVar("_Result")
Parts = tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]
"""TensorFlow variables of model, optimizer, metrics and seeds."""


def no_parts() -> Parts:
    """Return no variables: nothing is digested."""
    return (), (), (), ()


class DigestPlan:
    """Choose the steps whose state is digested, by what digests have cost until now. Pure.

    The first step after a save comes first, since a relaunch repeats it; then starts of epochs,
    then any step. Together they stay within their share of the time. Before the first save there
    is none: a relaunch has restored nothing there that could be wrong.

    Args:
        now: when the training begins, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._open = False
        self._wanted = False
        self._epoch = -1
        self._from = now - AHEAD_S / SHARE
        self._each: float | None = None
        self._first = True
        self._spent = 0.0

    @property
    def priced(self) -> bool:
        """True if it is known what a digest costs."""
        return self._each is not None

    def price(self, each: float, spent: float) -> None:
        """Set what a digest will about cost, and what it took to find out."""
        self._each = each
        self._spent += spent

    def want(self) -> None:
        """Digest the next step: it is the first after a save or a restore."""
        self._open = self._wanted = True

    def due(self, epoch: int, now: float) -> bool:
        """Return whether the state after this step is to be digested."""
        begins, self._epoch = epoch != self._epoch, epoch
        number = _AFTER_SAVE if self._wanted else _EPOCH if begins else _ANY
        return self._open and SHARE * (now - self._from) >= self._spent + number * (
            self._each or 0.0
        )

    def taken(self, seconds: float) -> None:
        """Count a digest that took so many seconds."""
        self._wanted = False
        # the quickest: one that was interrupted tells nothing of the next
        self._each = min(self._each or seconds, seconds)
        # the first one of a process loads what reads variables: that is not spent again
        self._spent += self._each if self._first else seconds
        self._first = False


class StateDigests:
    """Digest the state of one stage; off after an error, which is logged.

    Args:
        parts: returns the variables; called each time, since some are created late.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts: Callable[[], Parts] | None = parts
        self._clock = time.perf_counter
        self._plan = DigestPlan(self._clock())

    def want(self) -> None:
        """Digest the next step."""
        self._plan.want()

    def due(self, epoch: int) -> bool:
        """Return whether the state after this step is to be digested."""
        if self._parts is None:
            return False
        begun = self._clock()
        if not self._plan.priced:
            # of the processor: an interruption would use up the time of the first digests
            worked = time.thread_time()
            each = self._try(estimate)
            if not each:
                self._parts = None  # there are none
                return False
            self._plan.price(each, time.thread_time() - worked)
        return self._plan.due(epoch, begun)

    def take(self) -> Digest | None:
        """Digest the state; None if there is none, or if it cannot be read."""
        begun = self._clock()
        found = self._try(digest)
        self._plan.taken(self._clock() - begun)
        return found

    def _try(self, of: Callable[[Parts], _Result]) -> _Result | None:
        if self._parts is None:
            return None
        try:
            return of(self._parts())
        except Exception as error:
            # a kind of variable that is not known: the training is not to end for it
            self._parts = None
            log_line(f"variables are not compared step by step: {type(error).__name__}: {error}")
            return None


def estimate(parts: Parts) -> float:
    """Estimate the seconds of a digest, before there was one."""
    total = 0.0
    for one in itertools.chain(*parts):
        if _is_of_tensorflow(one):
            size = (one.shape.num_elements() or 0) * one.dtype.size
            each = _EACH_S if one.device.endswith(_HOST) else _EACH_ELSEWHERE_S
        else:
            size, each = math.prod(one.shape) * _ITEM, _EACH_ELSEWHERE_S
        total += each + size / _BYTES_A_SECOND
    return total


def digest(parts: Parts) -> Digest | None:
    """Digest the current values of variables; None without any."""
    sums, layout, empty = [], 0, True
    for part in parts:
        crc, size, number = 0, 0, 0
        for values in map(_bits, part):
            crc = zlib.crc32(values, crc)
            size += len(values)
            number += 1
        layout = zlib.crc32(_LAYOUT.pack(number, size), layout)
        empty = empty and not number
        sums.append(crc)
    if empty:
        return None
    return Digest(1 + layout % MOST_KINDS, (sums[0], sums[1], sums[2], sums[3]))


def _bits(variable: Any) -> Any:
    """Return the bits of a variable, or sums of them that depend on their places."""
    import numpy as np

    if not _is_of_tensorflow(variable):
        # copied: JAX gives the buffers of a step to the next one
        return np.ascontiguousarray(variable.numpy()).reshape(-1).view(np.uint8)
    value = _value(variable)
    if not value.device.endswith(_HOST) and value.dtype.is_numpy_compatible:
        return folded(value)
    array = np.asarray(value)  # shares the buffer of the variable
    if array.dtype.hasobject:
        return repr(array.tolist()).encode(errors="replace")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _is_of_tensorflow(variable: Any) -> bool:
    return hasattr(variable.dtype, "as_numpy_dtype")


def _value(variable: Any) -> Any:
    import tensorflow as tf

    handle = getattr(variable, "handle", None)
    if handle is None:
        return variable.value()
    # half the time of value(), which also places the operation and tells tapes of it
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.dtype)


def folded(value: Any) -> bytes:
    """Reduce the bits of a tensor on its device: the sums of the rows and columns of a table.

    Integer sums are the same in any order. A changed bit changes a row and a column; two values
    that are exchanged change two columns, or two rows.
    """
    import tensorflow as tf

    with tf.device(value.device):
        words = _words(value)
        number = int(words.shape[0])
        whole = number - number % _COLUMNS
        table = tf.reshape(words[:whole], (-1, _COLUMNS))
        places = tf.range(1, 2 * max(whole // _COLUMNS, _COLUMNS), 2, dtype=tf.int64)
        rows = tf.reduce_sum(table, axis=1)
        rows = tf.reduce_sum(rows * places[: whole // _COLUMNS])
        left = tf.concat([tf.reduce_sum(table, axis=0), words[whole:], rows[None]], axis=0)
    return bytes(memoryview(left.numpy()).cast("B"))


def _words(value: Any) -> Any:
    """Return a tensor as a list of 64 bits each, without a copy where its size allows it."""
    import tensorflow as tf

    if value.dtype == tf.bool:
        value = tf.cast(value, tf.uint8)
    flat = tf.reshape(value, (-1,))
    each = 8 // min(flat.dtype.size, 8)
    if flat.dtype.size > 8:  # two words each
        return tf.reshape(tf.bitcast(flat, tf.int64), (-1,))
    number = math.prod(flat.shape)
    if number % each:
        flat = tf.concat([flat, tf.zeros((each - number % each,), flat.dtype)], axis=0)
    return tf.bitcast(tf.reshape(flat, (-1, each)) if each > 1 else flat, tf.int64)


def groups_of(groups: Iterable[tuple[str, Sequence[Any]]], seeds: Iterable[Any]) -> Parts:
    """Sort variables by the label of their group, with those of seed generators apart."""
    apart = {id(one) for one in seeds}
    found: dict[str, list[Any]] = {"model": [], "optimizer": [], "metrics": [], "seeds": []}
    for label, variables in groups:
        kind = label.partition(".")[0]
        for one in variables:
            mine = "seeds" if id(one) in apart else kind if kind in found else "model"
            found[mine].append(one)
    return found["model"], found["optimizer"], found["metrics"], found["seeds"]
