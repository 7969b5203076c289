"""What the data of a `fit` draws from Python's random generators, followed batch by batch.

Keras reads a generator and a ``PyDataset`` ahead in a thread. When a checkpoint is made,
``numpy.random`` has gone on to the batches that were read ahead, which nobody has trained and
which the next process draws again. So the state is noted behind each batch, and a checkpoint
gets the one behind the last batch that was trained.

That is exact where the data alone draws from a generator. Where the script draws from it,
too, the two take turns in an order that the threads decide: not even two undisturbed runs
are alike, and the receipt says so.
"""

import ctypes
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode

PYTHON: Final = "Python's global random generator"
NUMPY: Final = "numpy's global random generator"
GLOBAL: Final = frozenset({PYTHON, NUMPY})
_OWN: Final = "its attribute "
_PATIENCE_S: Final = 5.0
"""How long a checkpoint waits for a batch that is being drawn."""

States = dict[str, Any]
"""By generator: what its ``getstate`` gives."""


class RngTracker:
    """Follow what a generator, or a ``PyDataset``, draws.

    Args:
        owner: the ``PyDataset``, whose attributes may be generators, too.

    Attributes:
        moved: generators that batches were drawn from.
        foreign: those that something else drew from between two batches.
        begin: states when the pass began; a generator is drawn again from there.
    """

    def __init__(self, owner: Any = None) -> None:
        self._owner = owner
        self.moved: set[str] = set()
        self.foreign: set[str] = set()
        self.begin: States = {}
        self._numpy = _Numpy()
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
        """The present states."""
        states = {PYTHON: random.getstate(), NUMPY: self._numpy.state()}
        for name, value in list(getattr(self._owner, "__dict__", {}).items()):
            if isinstance(value, random.Random):
                states[_OWN + name] = value.getstate()
            elif isinstance(value, np.random.Generator):
                states[_OWN + name] = value.bit_generator.state
            elif isinstance(value, np.random.RandomState):
                states[_OWN + name] = value.get_state()
        return states

    def put(self, states: States) -> None:
        """Puts states back into the generators that are there."""
        for kind, state in states.items():
            if kind == PYTHON:
                random.setstate(state)
            elif kind == NUMPY:
                np.random.set_state(state)
            else:
                value = getattr(self._owner, kind.removeprefix(_OWN), None)
                if isinstance(value, random.Random):
                    value.setstate(state)
                elif isinstance(value, np.random.Generator):
                    value.bit_generator.state = state
                elif isinstance(value, np.random.RandomState):
                    value.set_state(state)

    # reading

    def begin_pass(self, first: int, *, remember: bool = False) -> None:
        """Expect batch ``first`` of a pass next.

        Args:
            remember: keep the present states: the pass is drawn again from there.
        """
        if remember:
            self.begin = self.now()
        self._trail.clear()
        self._last = {}
        self._count = first

    def draw(self, read: Callable[[], Any]) -> Any:
        """One batch, in whatever thread.

        Raises:
            Exception: what ``read`` raises.
        """
        with self._lock:
            if self._closed:
                # whoever still reads ahead gets what nobody will train
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
        """The same batches."""
        end = object()
        while True:
            batch = self.draw(lambda: next(batches, end))
            if batch is end:
                return
            yield batch

    def passed(self, taken: int) -> None:
        """So many batches of the pass are trained; in the main thread."""
        trail = self._trail
        while len(trail) > 1 and trail[1][0] <= taken:
            trail.popleft()

    def behind(self, taken: int) -> States:
        """States behind the last trained batch of generators that the data alone draws from."""
        # a batch that is being drawn has moved a generator halfway
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
        """No batch is drawn any more; the generators stand behind the last trained batch.

        Args:
            taken: trained batches of the pass, None where none is under way.
        """
        waited = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            self._closed = True
            if taken is not None:
                self.put(self.behind(taken))
        finally:
            if waited:
                self._lock.release()

    # what a checkpoint holds

    def capture(self, tensors: Tensors, taken: int | None) -> dict[str, Any]:
        """All of it, as JSON and arrays.

        Args:
            taken: as in :meth:`close`.
        """
        states = {**self.now(), **({} if taken is None else self.behind(taken))}
        own = {kind: state for kind, state in states.items() if kind.startswith(_OWN)}
        return {
            "made": _out(self.made, tensors, "draws/made"),
            "begin": _out(self.begin, tensors, "draws/begin"),
            "own": _out(own, tensors, "draws/own"),
            "moved": sorted(self.moved),
            "foreign": sorted(self.foreign),
            **self.epoch_calls.capture(tensors),
        }

    def load(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Takes over what an earlier attempt knew."""
        self.made = _in(kept["made"], tensors)
        self.begin = _in(kept["begin"], tensors)
        self.moved |= set(kept["moved"])
        self.foreign |= set(kept["foreign"])
        self.epoch_calls.load(kept, tensors)

    def load_own(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Puts a ``PyDataset``'s own generators back to where they were."""
        self.put(_in(kept["own"], tensors))


class EpochCalls:
    """Repeat what a ``PyDataset`` is told of epochs, with the random state of each call.

    Args:
        owner: the ``PyDataset``.
        tracker: reads and writes the states of generators.
    """

    def __init__(self, owner: Any, tracker: "RngTracker") -> None:
        self._owner = owner
        self._tracker = tracker
        # "b" and "e" for each call of on_epoch_begin and on_epoch_end, and what some began with
        self._calls = ""
        self._began: list[tuple[int, str, Any]] = []
        self._ended: States = {}
        self._after: States = {}

    def call(self, name: str) -> None:
        """Tell it of the begin or end of an epoch, and note what that began with.

        What follows from the call before is not noted: most draw nothing in between.

        Args:
            name: on_epoch_begin or on_epoch_end.
        """
        before = self._tracker.now()
        for kind in self._call(name, before):
            if not _same(self._ended.get(kind), before[kind]):
                self._began.append((len(self._calls) - 1, kind, before[kind]))
            self._ended[kind] = self._after[kind]

    def repeat(self, called: str, beat: Callable[[], None]) -> None:
        """Repeat the calls of an earlier attempt, each from the states that it began with.

        Args:
            called: their letters; :meth:`load` has read the states.
        """
        for letter in called[len(self._calls) :]:
            beat()
            number = len(self._calls)
            self._tracker.put({kind: state for at, kind, state in self._began if at == number})
            name = {"b": "on_epoch_begin", "e": "on_epoch_end"}[letter]
            for kind in self._call(name, self._tracker.now()):
                self._ended[kind] = self._after[kind]

    def capture(self, tensors: Tensors) -> dict[str, Any]:
        """Give them as JSON and arrays."""
        return {
            "called": self._calls,
            "calls": [
                [number, _out({kind: state}, tensors, f"draws/calls/{index}")]
                for index, (number, kind, state) in enumerate(self._began)
            ],
        }

    def load(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Take over what an earlier attempt knew."""
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
    """Reads numpy's global state; asking for all of it each time would cost 0.1 ms a batch."""

    def __init__(self) -> None:
        self._seen: tuple[object, bytes, Any] | None = None
        bits = _bits()
        state: Any = np.random.get_state()
        self._readable = isinstance(bits, np.random.MT19937) and _memory(bits) == (
            state[1].tobytes() + np.int32(state[2]).tobytes()
        )

    def state(self) -> Any:
        """What ``numpy.random.get_state`` gives; not to be changed."""
        bits = _bits()
        if not self._readable or not isinstance(bits, np.random.MT19937):
            return np.random.get_state()
        memory = _memory(bits)
        if self._seen is not None:
            of, before, state = self._seen
            # a normal number may be left over, which is drawn without a move
            if of is bits and before == memory and not state[3]:
                return state
        state = np.random.get_state()
        self._seen = (bits, memory, state)
        return state


def _bits() -> Any:
    return getattr(np.random, "get_bit_generator", lambda: None)()  # since numpy 1.24


def _memory(bits: Any) -> bytes:
    """The 624 words of an MT19937, and the place in them."""
    return ctypes.string_at(bits.ctypes.state_address, 2500)


def begin_with(kept: dict[str, Any], tensors: Tensors) -> None:
    """Puts the process into the state in which the data was given to `fit`."""
    RngTracker().put(_in(kept["made"], tensors))


def differing(some: States, others: States) -> set[str]:
    """Generators that both know, in different states."""
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
        # 625 numbers, as an array
        plain = (state[0], np.array(state[1], np.uint64), state[2]) if of_random else state
        try:
            kept.append([kind, encode(plain, tensors, f"{prefix}/{index}")])
        except Unsupported:
            continue  # a bit generator that somebody wrote
    return kept


def _in(kept: list[list[Any]], tensors: Tensors) -> States:
    states = {}
    for kind, value in kept:
        state = decode(value, tensors)
        if type(state) is tuple and len(state) == 3:
            state = (state[0], tuple(int(number) for number in state[1]), state[2])
        states[kind] = state
    return states
