"""Iterators over datasets that the script itself holds and takes from, e.g. in a callback.

Each records the random state from which it began, and the count of elements taken, in graphs too. A
relaunch begins it again from that state and takes as many elements.
"""

import functools
import hashlib
import itertools
import json
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.pipeline import caches, fast_forward, shuffles
from rekindle.jobs.data.pipeline.below import Below, State
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.keras_compat.tensorflow_parts import (
    gen_dataset_ops,
    iterator_ops,
    resource_variable_ops,
    tf,
)

_LONG_S: Final = 1.0
_WRAPPERS: Final = {
    ("rekindle.jobs.data.pipeline.held", "begin"),
    ("rekindle.jobs.data.pipeline.caches", "begin"),
    ("rekindle.jobs.ends.uses", "watched"),
}
"""Module and function of all that stands between the script and TensorFlow's own ``__init__``."""
_NOT_THE_SCRIPT: Final = ("keras.", "tf_keras.", "rekindle.")

_held: "weakref.WeakKeyDictionary[Any, Held]" = weakref.WeakKeyDictionary()
_ahead: dict[str, set[int]] = {}
"""Shuffles, with the numbers of the iterators whose threads draw from them."""
_shared: set[str] = set()
"""Shuffles that another iterator has drawn from while such a thread might."""
_no_training: Callable[[], set[str]] = set
_training = [_no_training]
"""Returns the shuffles that the training data is read ahead from at present."""
_busy: list[str] = []
_numbers = itertools.count()


class Held:
    """Hold what is known of one iterator.

    Args:
        dataset: what it iterates over.

    Attributes:
        number: of its own in this process.
    """

    def __init__(self, dataset: Any) -> None:
        self.number = next(_numbers)
        self._below = Below(dataset)
        self._begin: State = self._below.state
        self._count = 0
        self._in_graphs: Any = None

    @property
    def later(self) -> set[str]:
        """The shuffles that it draws from while it is read: TensorFlow reads ahead in threads."""
        return self._below.later

    def drawing(self, names: set[str]) -> None:
        """Note shuffles that it draws from now."""
        drawing(names)
        others = {name: _ahead.get(name, set()) - {self.number} for name in names}
        if any(others.values()):
            alive = _alive()
            _shared.update(name for name, numbers in others.items() if numbers & alive)

    def began(self) -> None:
        """Note what it has drawn to begin."""
        self.drawing(self._below.shuffles)

    @property
    def taken(self) -> int:
        """Count of elements taken."""
        in_graphs = 0 if self._in_graphs is None else int(self._in_graphs.numpy())
        return self._count + in_graphs

    @property
    def digest(self) -> str:
        """A short text that differs for different positions."""
        values, arrays = self._begin
        found = hashlib.blake2b(json.dumps(values).encode(), digest_size=4)
        for key in sorted(arrays):
            found.update(np.ascontiguousarray(arrays[key]).tobytes())
        return f"{self.taken} {found.hexdigest()}"

    def took(self) -> None:
        """Count an element taken, now or whenever the graph that is being traced runs."""
        self.drawing(self.later)
        for name in self.later:
            _ahead.setdefault(name, set()).add(self.number)
        if tf.executing_eagerly():
            self._count += 1
            return
        with tf.init_scope(), tf.device("CPU:0"):
            if self._in_graphs is None:
                # not tf.Variable: a strategy would make copies of it
                self._in_graphs = resource_variable_ops.ResourceVariable(
                    0, trainable=False, dtype=tf.int64, name="rekindle_taken"
                )
        self._in_graphs.assign_add(1)

    def ended(self) -> None:
        """Note that nothing is left to read ahead."""
        for name in self.later:
            _ahead.get(name, set()).discard(self.number)

    def counter(self) -> Any:
        """Return the variable that counts in graphs; None if there is none."""
        return self._in_graphs

    def capture(self, arrays: Tensors, prefix: str) -> Json:
        """Return count and begin, as JSON and arrays."""
        values, own = self._begin
        arrays.update({f"{prefix}/{key}": value for key, value in own.items()})
        return {"taken": self.taken, "begin": values, "arrays": sorted(own)}

    def restore(
        self, iterator: Any, kept: Json, arrays: Tensors, prefix: str, beat: Callable[[], None]
    ) -> None:
        """Begin the iterator again and take as many elements.

        Args:
            beat: called while data is read again; may end the process.
        """
        dataset, began = iterator._dataset, time.monotonic()
        caches.fill(dataset, beat)
        now = self._below.state
        own = {key: np.asarray(arrays[f"{prefix}/{key}"]) for key in kept["arrays"]}
        self._begin = kept["begin"], own
        self._below.put(self._begin)
        gen_dataset_ops.make_iterator(dataset._variant_tensor, iterator._iterator_resource)
        _busy.append("")
        try:
            fast_forward.forward(iterator, kept["taken"], beat)
        finally:
            _busy.pop()
        # what was restored already may be shared; threads that read ahead draw from here on
        self._below.put_begun(now)
        self._count = kept["taken"]
        if self._in_graphs is not None:
            self._in_graphs.assign(0)
        seconds = time.monotonic() - began
        if seconds >= _LONG_S:
            words = f"{kept['taken']} elements read in {seconds:.1f} s"
            log_line(f"iterator of the script restored: {words}.")


def watch() -> None:
    """Note each iterator that the script begins, and count what is taken from it."""
    owner = iterator_ops.OwnedIterator
    wrappers = {"__init__": _noting, "_next_internal": _counting, "get_next_as_optional": _counting}
    for name, wrap in wrappers.items():
        setattr(owner, name, wrap(getattr(owner, name)))


def known(iterator: Any) -> Held | None:
    """Return what is known of an iterator; None for one that the script has not begun."""
    return _held.get(iterator)


def datasets() -> list[tuple[int, Any]]:
    """List the datasets of the iterators that were taken from, each with a number of its own."""
    return [(held.number, one._dataset) for one, held in list(_held.items()) if held.taken]


def read_ahead() -> set[str]:
    """Name the shuffles that threads of such iterators draw from."""
    return {name for held in list(_held.values()) if held.taken for name in held.later}


def forget_ended() -> None:
    """Forget the iterators that are deleted: what they have drawn so far is part of the state."""
    alive = _alive()
    for numbers in _ahead.values():
        numbers.intersection_update(alive)
    _shared.intersection_update([name for name, numbers in _ahead.items() if numbers])


def beside(training: Callable[[], set[str]] | None) -> None:
    """Set what returns the shuffles that the training data is read ahead from; None without one."""
    _training[0] = training or _no_training


def drawing(names: set[str]) -> None:
    """Note that an iterator draws from these shuffles now, beside the training data."""
    _shared.update(names & _training[0]())


def shares(names: set[str]) -> bool:
    """Return whether an iterator drew from a shuffle that a thread of another one draws from.

    Args:
        names: the shuffles that the training data draws from while it is read.
    """
    return bool(_shared) or any(numbers and name in names for name, numbers in _ahead.items())


def _read_ahead_now() -> set[str]:
    alive = _alive()
    return _training[0]() | {name for name, numbers in _ahead.items() if numbers & alive}


def _alive() -> set[int]:
    return {held.number for held in list(_held.values())}


def counters() -> list[Any]:
    """List the variables that count in graphs."""
    found = [held.counter() for held in list(_held.values())]
    return [counter for counter in found if counter is not None]


def _noting(plain: Any) -> Any:
    @functools.wraps(plain)
    def begin(self: Any, dataset: Any = None, *args: Any, **kwargs: Any) -> None:
        held = None
        if dataset is not None and not _busy and tf.executing_eagerly():
            if _by_the_script():
                held = Held(dataset)
            elif ahead := _read_ahead_now():
                # an evaluate or a predict of a callback
                drawn = shuffles.Draws(dataset)
                _shared.update((drawn.names - drawn.cached) & ahead)
        plain(self, dataset, *args, **kwargs)
        if held is not None:
            _held[self] = held
            held.began()

    return begin


def _counting(plain: Any) -> Any:
    @functools.wraps(plain)
    def take(self: Any) -> Any:
        held = _held.get(self) if not _busy else None
        try:
            element = plain(self)
        except (StopIteration, tf.errors.OutOfRangeError):
            if held is not None:
                held.ended()
            raise
        if held is not None:
            held.took()
        return element

    return take


def _by_the_script() -> bool:
    """Return whether neither Keras nor rekindle begins this iterator."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        is_wrapper = (name, frame.f_code.co_name) in _WRAPPERS
        if not is_wrapper and not name.startswith("tensorflow."):
            return not f"{name}.".startswith(_NOT_THE_SCRIPT)
        frame = frame.f_back
    return False
