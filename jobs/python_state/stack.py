"""Frames of the script from its innermost one to the one that a loop began in."""

import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rekindle.jobs import code_origin
from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.python_state import traced
from rekindle.jobs.python_state.frame import Frame
from rekindle.jobs.python_state.reach import Reach


class NoStack:
    """Stand for the frames of a ``fit``: its script waits, and sets no variable meanwhile.

    Attributes:
        home: where a script keeps what is not followed.
    """

    home = "in a callback with state_dict() and load_state_dict()"

    def roots(self) -> dict[str, Any]:
        """Return the frames that run now, by path."""
        return {}

    def closed(self) -> frozenset[int]:
        """Return the identities of objects that others restore."""
        return frozenset()

    def is_made_again(self, path: str) -> bool:
        """Return whether the script makes again what a path leads to, before a relaunch needs it.

        The restore names it if not.
        """
        return False

    def caveats(self) -> Iterator[Caveat]:
        """Name functions whose variables cannot be read."""
        return iter(())

    def traced(self, entry: Reach, now: Reach) -> Iterable[Caveat]:
        """Name values that have changed since functions of the script were traced with them."""
        return ()


class Stack(NoStack):
    """Find the frames whose variables belong to a loop; make it where the loop begins.

    Args:
        closed: returns objects that others restore.
    """

    home = "in state="

    def __init__(self, closed: Callable[[], Iterable[Any]]) -> None:
        self._closed = closed
        self._began: list[Frame] = []
        for frame in _own_frames():
            self._began.append(Frame(frame, in_loop=True))
            if not frame.f_code.co_flags & inspect.CO_GENERATOR:
                break  # a generator of the script yields to a loop in the next one
        self._made_again: set[str] = set()
        self._lasting = {name for one in self._began for name in one.names()}

    def roots(self) -> dict[str, Any]:
        inner = []
        for frame in _own_frames():
            if any(one.is_of(frame) for one in self._began):
                break
            inner.append(Frame(frame, in_loop=False))
        else:
            inner = []  # not below the loop: it is being left
        found: dict[str, Any] = {}
        for one in (*self._began, *inner):
            found[_free(f"locals of {one.label}", found)] = one
        for one in (*self._began, *inner):
            self._made_again |= one.names() - self._lasting
        return found

    def closed(self) -> frozenset[int]:
        return frozenset(map(identity_of, self._closed()))

    def is_made_again(self, path: str) -> bool:
        name = path.partition(".")[0].partition("[")[0]
        return name in self._made_again and name not in self._lasting

    def traced(self, entry: Reach, now: Reach) -> Iterable[Caveat]:
        return traced.caveats(entry, now)

    def caveats(self) -> Iterator[Caveat]:
        for one in self._began:
            if not one.is_readable:
                yield Caveat(
                    f"The local variables of {one.label}() are not followed, since it calls "
                    "locals() or vars()",
                    "call that in another function, or keep what the loop changes in state=",
                )


def _own_frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if code_origin.is_own(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def _free(path: str, taken: dict[str, Any]) -> str:
    while path in taken:
        path += "~"
    return path
