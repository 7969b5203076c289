"""Track RNG states per batch, so that a checkpoint ignores batches that were only prefetched.

Keras prefetches from a generator and a ``PyDataset`` in a thread. When a checkpoint is taken,
``numpy.random`` has advanced to the prefetched batches, which are not trained and which the next
process reads again. So the state after each batch is recorded, and a checkpoint gets the state
after the last trained batch.

That is exact if the data alone draws from a generator. If the script draws from it, too, the
threads draw in an unknown order: not even two undisturbed runs are equal, and the receipt
reports it.
"""

import contextlib
import ctypes
import functools
import inspect
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode
from rekindle.jobs.seeding import unseeded

PYTHON: Final = "Python's global random generator"
NUMPY: Final = "numpy's global random generator"
UNSEEDED: Final = "generators that are made without a seed"
GLOBAL: Final = frozenset({PYTHON, NUMPY, UNSEEDED})
_OWN: Final = "its attribute "
_VALUE: Final = "the value of its attribute "
_KINDS: Final = (random.Random, np.random.Generator, np.random.RandomState)
_LARGEST: Final = 4096
"""Bytes of the largest array that is copied for each batch."""
_PATIENCE_S: Final = 5.0
"""Longest time that a checkpoint waits for a batch that is being read."""

States = dict[str, Any]
"""Results of ``getstate``, by generator."""


class RngTracker:
    """Track what a Python generator, or a ``PyDataset``, draws from random generators.

    Args:
        owner: the ``PyDataset``, whose attributes may be random generators, too.

    Attributes:
        moved: random generators that reading a batch advanced.
        foreign: random generators that something else advanced between two batches.
        begin: states at the start of the pass, from which a Python generator is read again.
    """

    def __init__(self, owner: Any = None) -> None:
        self._owner = owner
        self.moved: set[str] = set()
        self.foreign: set[str] = set()
        self.begin: States = {}
        self.made = self.now()
        self._trail: deque[tuple[int, States]] = deque()
        self._last: States = {}
        self._count = 0
        self._item: Any = None
        self._closed = False
        self._lock = threading.RLock()
        self.epoch_calls = EpochCalls(owner, self)

    # states

    def now(self) -> States:
        """Return the current states."""
        states = {PYTHON: random.getstate(), NUMPY: _numpy().state(), UNSEEDED: unseeded.counts()}
        for name, value in list(getattr(self._owner, "__dict__", {}).items()):
            state = _state(value)
            if state is not None:
                states[_OWN + name] = state
            elif _is_plain(value):
                states[_VALUE + name] = value.copy() if type(value) is np.ndarray else value
        return states

    def put(self, states: States) -> None:
        """Restore states into the existing generators."""
        for kind, state in states.items():
            if kind == PYTHON:
                random.setstate(state)
            elif kind == NUMPY:
                np.random.set_state(state)
            elif kind == UNSEEDED:
                unseeded.restore(state)
            elif kind.startswith(_VALUE):
                self._put_value(kind.removeprefix(_VALUE), state)
            else:
                value = getattr(self._owner, kind.removeprefix(_OWN), None)
                if isinstance(value, random.Random):
                    value.setstate(state)
                elif isinstance(value, np.random.Generator):
                    value.bit_generator.state = state
                elif isinstance(value, np.random.RandomState):
                    value.set_state(state)

    def _put_value(self, name: str, value: Any) -> None:
        held = vars(self._owner).get(name)
        if type(value) is not np.ndarray:
            vars(self._owner)[name] = value
        elif type(held) is np.ndarray and held.shape == value.shape and held.flags.writeable:
            held[...] = value  # others may hold the array, too
        else:
            vars(self._owner)[name] = value.copy()

    # reading

    def begin_pass(self, first: int, *, remember: bool = False) -> None:
        """Begin a pass at batch ``first``.

        Args:
            remember: record the current states, from which the pass is read again.
        """
        if remember:
            self.begin = self.now()
        self._trail.clear()
        self._last = {}
        self._count = first

    def draw(self, read: Callable[[], Any]) -> Any:
        """Read one batch, in any thread.

        Raises:
            Exception: any that ``read`` raises.
        """
        with self._lock:
            if self._closed:
                # a prefetching thread gets a batch that is never trained
                return self._item
            before = self.now()
            self.foreign |= differing(self._last, before)
            if not self._trail:
                self._trail.append((self._count, before))
            self._item = read()
            after = self.now()
            self._count += 1
            moved = differing(before, after)
            if moved:
                self.moved |= moved
                self._trail.append((self._count, after))
            self._last = after
            return self._item

    def follow(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Iterate over batches and track each."""
        end = object()
        while True:
            batch = self.draw(lambda: next(batches, end))
            if batch is end:
                return
            yield batch

    def passed(self, taken: int) -> None:
        """Set the number of trained batches of the pass; call in the main thread."""
        trail = self._trail
        while len(trail) > 1 and trail[1][0] <= taken:
            trail.popleft()

    def behind(self, taken: int) -> States:
        """Return states after the last trained batch, of generators only the data draws from."""
        # while a batch is being read, a generator is between two states
        waited = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            found: States = {}
            for count, states in list(self._trail):
                if count <= taken:
                    found = states
            return {
                kind: state for kind, state in found.items() if kind in self.moved - self.foreign
            }
        finally:
            if waited:
                self._lock.release()

    def close(self, taken: int | None) -> None:
        """Stop reading, and set the generators to the state after the last trained batch.

        Args:
            taken: trained batches of the current pass; None between two passes.
        """
        waited = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            self._closed = True
            if taken is not None:
                self.put(self.behind(taken))
        finally:
            if waited:
                self._lock.release()

    # content of a checkpoint

    def capture(self, tensors: Tensors, taken: int | None) -> dict[str, Any]:
        """Capture the states, as JSON and arrays.

        Args:
            taken: as in :meth:`close`.
        """
        states = {**self.now(), **({} if taken is None else self.behind(taken))}
        # values that reading has not changed are restored with the Python state
        read = {kind for kind in self.moved - self.foreign if kind.startswith(_VALUE)}
        own = {
            kind: state for kind, state in states.items() if kind.startswith(_OWN) or kind in read
        }
        return {
            "made": _out(generators(self.made), tensors, "draws/made"),
            "begin": _out(generators(self.begin), tensors, "draws/begin"),
            "own": _out(own, tensors, "draws/own"),
            "moved": sorted(self.moved),
            "foreign": sorted(self.foreign),
            **self.epoch_calls.capture(tensors),
        }

    def load(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Load what an earlier attempt captured."""
        self.made = _in(kept["made"], tensors)
        self.begin = _in(kept["begin"], tensors)
        self.moved |= set(kept["moved"])
        self.foreign |= set(kept["foreign"])
        self.epoch_calls.load(kept, tensors)

    def load_own(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Restore the generators that are attributes of the ``PyDataset``, and values read."""
        self.put(_in(kept["own"], tensors))

    def load_values(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Restore values that reading changes, not as far as batches were only prefetched."""
        own = _in(kept["own"], tensors)
        self.put({kind: state for kind, state in own.items() if kind.startswith(_VALUE)})

    @property
    def raced(self) -> list[tuple[str, bool]]:
        """List what both the data and the script advance; True for a value and not a generator."""
        return [(kind, kind.startswith(_VALUE)) for kind in sorted(self.moved & self.foreign)]


class EpochCalls:
    """Record and repeat the epoch calls of a ``PyDataset``, with the random state of each.

    Args:
        owner: the ``PyDataset``.
        tracker: reads and restores the states of generators.
    """

    def __init__(self, owner: Any, tracker: "RngTracker") -> None:
        self._owner = owner
        self._tracker = tracker
        # "b" and "e" for each call of on_epoch_begin and on_epoch_end, and states before some
        self._calls = ""
        self._began: list[tuple[int, str, Any]] = []
        self._ended: States = {}
        self._after: States = {}

    def call(self, name: str) -> None:
        """Call a method of the dataset, and record the random state before it.

        A state equal to that after the previous call is not recorded, as is usual.

        Args:
            name: on_epoch_begin or on_epoch_end.
        """
        before = self._tracker.now()
        for kind in self._call(name, before):
            if not _same(self._ended.get(kind), before[kind]):
                self._began.append((len(self._calls) - 1, kind, before[kind]))
            self._ended[kind] = self._after[kind]

    def repeat(self, called: str, beat: Callable[[], None]) -> None:
        """Repeat the calls of an earlier attempt, each from its recorded states.

        Args:
            called: their letters; call :meth:`load` first for the states.
        """
        for letter in called[len(self._calls) :]:
            beat()
            number = len(self._calls)
            self._tracker.put({kind: state for at, kind, state in self._began if at == number})
            name = {"b": "on_epoch_begin", "e": "on_epoch_end"}[letter]
            for kind in self._call(name, self._tracker.now()):
                self._ended[kind] = self._after[kind]

    def capture(self, tensors: Tensors) -> dict[str, Any]:
        """Return the calls as JSON and arrays."""
        return {
            "called": self._calls,
            "calls": [
                [number, _out({kind: state}, tensors, f"draws/calls/{index}")]
                for index, (number, kind, state) in enumerate(self._began)
            ],
        }

    def load(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Load what an earlier attempt captured."""
        self._began = [
            (number, kind, state)
            for number, entry in kept["calls"]
            for kind, state in _in(entry, tensors).items()
        ]

    def _call(self, name: str, before: States) -> set[str]:
        getattr(self._owner, name)()
        self._after = self._tracker.now()
        self._calls += name.removeprefix("on_epoch_")[0]
        return differing(before, self._after)


class _Numpy:
    """Read numpy's global state only when it changed: ``get_state`` costs 0.1 ms a batch."""

    def __init__(self) -> None:
        self._seen: tuple[object, bytes, Any] | None = None
        bits = _bits()
        state: Any = np.random.get_state()
        self._readable = isinstance(bits, np.random.MT19937) and _memory(bits) == (
            state[1].tobytes() + np.int32(state[2]).tobytes()
        )

    def state(self) -> Any:
        """Return ``numpy.random.get_state()``; the result must not be changed."""
        bits = _bits()
        if not self._readable or not isinstance(bits, np.random.MT19937):
            return np.random.get_state()
        memory = _memory(bits)
        if self._seen is not None:
            of, before, state = self._seen
            # a cached normal number, state[3], would be drawn without a change of the memory
            if of is bits and before == memory and not state[3]:
                return state
        state = np.random.get_state()
        self._seen = (bits, memory, state)
        return state


@functools.cache
def _numpy() -> _Numpy:
    return _Numpy()


def _bits() -> Any:
    return getattr(np.random, "get_bit_generator", lambda: None)()  # since numpy 1.24


def _memory(bits: Any) -> bytes:
    """Copy the 624 words of an MT19937 and the position in them."""
    return ctypes.string_at(bits.ctypes.state_address, 2500)


def own_generators(owner: Any) -> States:
    """Return the states of generators that are attributes of a ``PyDataset``, or outside of it."""
    now = RngTracker(owner).now()
    own = {kind: state for kind, state in now.items() if kind.startswith(_OWN)}
    return {**own, **outside(owner)}


def held_generators(function: Any, depth: int = 3) -> dict[str, Any]:
    """Return the random generators that a function, or a generator, takes from outside of it.

    Args:
        depth: of the functions that it calls.
    """
    frame = getattr(function, "gi_frame", None)
    code = getattr(function, "gi_code", None) or getattr(function, "__code__", None)
    if code is None:
        return {}
    space = frame.f_globals if frame is not None else getattr(function, "__globals__", {})
    held = {name: space.get(name) for name, _ in own_code.global_names(code)}
    if frame is not None:
        held |= frame.f_locals
    else:
        cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False)
        for name, cell in cells:
            with contextlib.suppress(ValueError):  # a variable that is not assigned yet
                held[name] = cell.cell_contents
    for one in [value for value in held.values() if own_code.is_own_function(value)]:
        held = {**(held_generators(one, depth - 1) if depth else {}), **held}
    torch: Any = sys.modules.get("torch")
    kinds = (*_KINDS, *([torch.Generator] if torch is not None else []))
    return {name: value for name, value in held.items() if isinstance(value, kinds)}


def outside(owner: Any) -> States:
    """Return the states of generators that the class of a ``PyDataset`` takes from outside of it.

    They are globals, or variables of the function around the class.
    """
    found: States = {}
    for one in own_code.own_classes(owner):
        for _, function in own_code.functions_of(one):
            named = {name for name, _ in own_code.global_names(function.__code__)}
            held = {name: function.__globals__.get(name) for name in named}
            with contextlib.suppress(ValueError):  # a variable that is not assigned yet
                held |= inspect.getclosurevars(function).nonlocals
            for name, value in held.items():
                state = _state(value)
                if state is not None:
                    found[name] = state
    return found


def _state(value: Any) -> Any:
    """Return the state of a random generator; None for anything else."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state()
    return None


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text or a small array."""
    if type(value) is np.ndarray:
        return not value.dtype.hasobject and value.nbytes <= _LARGEST
    return type(value) in (bool, int, float, str) or isinstance(value, np.number)


def generators(states: States) -> States:
    """Return the states of generators alone, without values of attributes."""
    return {kind: state for kind, state in states.items() if not kind.startswith(_VALUE)}


def without_draws(data: Any, make: Callable[[], None]) -> bool:
    """Undo what ``make`` draws from a ``PyDataset`` to know its shapes.

    Keras does so at another time in each attempt.

    Returns:
        True if the data draws from generators of its own.
    """
    tracker = RngTracker(data)
    before = tracker.now()
    make()
    moved = differing(generators(before), tracker.now())
    tracker.put(before)
    return bool(moved - GLOBAL)


def begin_with(kept: dict[str, Any], tensors: Tensors) -> None:
    """Restore the random state in which the data was passed to `fit`."""
    RngTracker().put(_in(kept["made"], tensors))


def differing(some: States, others: States) -> set[str]:
    """Return the generators that are in both, in different states."""
    return {kind for kind in some.keys() & others.keys() if not _same(some[kind], others[kind])}


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, tuple) and len(one) < 16:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _out(states: States, tensors: Tensors, prefix: str) -> list[list[Any]]:
    kept = []
    for index, (kind, state) in enumerate(sorted(states.items())):
        of_random = type(state) is tuple and type(state[1]) is tuple
        # 625 numbers: saved as an array
        plain = (state[0], np.array(state[1], np.uint64), state[2]) if of_random else state
        try:
            kept.append([kind, encode(plain, tensors, f"{prefix}/{index}")])
        except Unsupported:
            continue  # a bit generator of the script's own
    return kept


def _in(kept: list[list[Any]], tensors: Tensors) -> States:
    states = {}
    for kind, value in kept:
        state = decode(value, tensors)
        if type(state) is tuple and len(state) == 3:
            state = (state[0], tuple(int(number) for number in state[1]), state[2])
        states[kind] = state
    return states
