"""Digest variables where they are, at sparse steps: a wrong slot need not show in the loss at once.

A digest is a CRC of the bits of each group. On the CPU it reads the buffers of the variables in
place; on another device each variable is first reduced there to sums of its bits, so that few bytes
are copied. It draws nothing, assigns nothing and traces nothing.
"""

import math
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from rekindle.jobs.evidence.step_record import MOST_KINDS, Digest
from rekindle.jobs.journal_writer import log_line

SHARE: Final = 0.001
"""Part of the training time that digests may take, beyond one after each save."""
_OWED: Final = 8
"""Digests whose time may be spent ahead: for those after saves, and at the starts of epochs."""
_COLUMNS: Final = 1024
_LAYOUT: Final = struct.Struct("<QQ")

Parts = tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]
"""TensorFlow variables of model, optimizer, metrics and seeds."""


def no_parts() -> Parts:
    """Return no variables: nothing is digested."""
    return (), (), (), ()


class DigestPlan:
    """Choose the steps whose state is digested, by what digests have cost until now. Pure.

    The first step after a save always is, since a relaunch repeats it; starts of epochs are
    where the time allows, then any step.
    """

    def __init__(self) -> None:
        self._wanted = True
        self._epoch = -1
        self._each = 0.0
        self._next = 0.0

    def want(self) -> None:
        """Digest the next step: it is the first after a save, or of this attempt."""
        self._wanted = True

    def due(self, epoch: int, now: float) -> bool:
        """Return whether the state after this step is to be digested."""
        if epoch == self._epoch:
            return self._wanted or now >= self._next
        self._epoch = epoch
        return self._wanted or now >= self._next - (_OWED - 1) * self._each

    def taken(self, epoch: int, seconds: float, now: float) -> None:
        """Count a digest that took so many seconds."""
        self._wanted = False
        self._epoch = epoch
        self._each = seconds / SHARE
        self._next = min(max(self._next, now) + self._each, now + _OWED * self._each)


class StateDigests:
    """Digest the state of one stage; off after an error, which is logged.

    Args:
        parts: returns the variables; called each time, since some are created late.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts: Callable[[], Parts] | None = parts
        self._plan = DigestPlan()
        self._clock = time.perf_counter

    def want(self) -> None:
        """Digest the next step."""
        self._plan.want()

    def due(self, epoch: int) -> bool:
        """Return whether the state after this step is to be digested."""
        return self._parts is not None and self._plan.due(epoch, self._clock())

    def take(self, epoch: int) -> Digest | None:
        """Digest the state; None if there is none, or if it cannot be read."""
        if self._parts is None:
            return None
        begun = self._clock()
        try:
            found = digest(self._parts())
        except Exception as error:
            # a kind of variable that is not known: the training is not to end for it
            self._parts = None
            log_line(f"variables are not compared step by step: {type(error).__name__}: {error}")
            return None
        now = self._clock()
        self._plan.taken(epoch, now - begun, now)
        return found


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
    value = variable.value()
    if not value.device.endswith(":CPU:0") and value.dtype.is_numpy_compatible:
        return folded(value)
    array = np.asarray(value)  # shares the buffer of the variable
    if array.dtype.hasobject:
        return repr(array.tolist()).encode(errors="replace")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


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
