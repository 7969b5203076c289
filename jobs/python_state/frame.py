"""Variables of one frame of the script: a module's, or a function's that runs."""

import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

from rekindle.jobs.bytecode import local_variable
from rekindle.jobs.bytecode.liveness import flow_of
from rekindle.jobs.object_kinds.kinds import Kind, Slot


class Frame:
    """Read and set the variables of a frame that the script will read again.

    Args:
        frame: of the script; it is held until the loop has ended.
        in_loop: only what the loop mentions that the frame is in now matters.

    Attributes:
        code, namespace: of the frame; its globals.
        is_function: it has variables of its own.
        is_readable: these can be read.
    """

    def __init__(self, frame: types.FrameType, *, in_loop: bool) -> None:
        self._frame = frame
        self._head = frame.f_lasti
        self._mentioned = flow_of(frame.f_code).in_loop(frame.f_lasti) if in_loop else None
        self.code = frame.f_code
        self.namespace = frame.f_globals
        self.is_function = bool(self.code.co_flags & inspect.CO_OPTIMIZED)
        # before Python 3.13 reading would change what the script's own locals() returned
        self.is_readable = (
            not self.is_function
            or sys.version_info >= (3, 13)
            or not flow_of(self.code).shows_variables
        )

    @property
    def label(self) -> str:
        return self.code.co_name

    def is_of(self, frame: types.FrameType) -> bool:
        """Return whether it stands for this frame."""
        return self._frame is frame

    def names(self) -> frozenset[str]:
        """Return the variables that the script reads before it sets them, from here on."""
        if not self.is_readable:
            return frozenset()
        flow = flow_of(self.code)
        names = flow.read_after(self._frame.f_lasti)
        if self._mentioned is None:
            return names
        # `total += train_epoch()` has read `total` already: the relaunch reads it once more
        return (names | flow.read_after(self._head)) & self._mentioned

    def rebinds(self, name: str) -> bool:
        """Return whether the loop sets a variable; others it changes in place at most."""
        return name in self.names() & flow_of(self.code).set_again(self._frame.f_lasti)

    def values(self) -> dict[str, Any]:
        """Return the values of these variables, in the order of their names."""
        names = self.names()
        if not names:
            return {}
        held = self._frame.f_locals
        found = {name: held[name] for name in sorted(names) if name in held}
        self._release(held)
        return found

    def set(self, name: str, value: Any) -> None:
        """Bind a variable."""
        local_variable.bind(self._frame, name, value)
        self._release(self._frame.f_locals)

    def _release(self, held: Any) -> None:
        """Let the copy of a function's variables keep nothing alive."""
        if self.is_function and type(held) is dict:
            held.clear()


class FrameKind(Kind):
    """Variables of a frame: a binding that is absent was not removed, but is set again."""

    name, partial = "locals", True

    def slots(self, value: Any) -> Iterator[Slot]:
        for name, item in value.values().items():
            yield Slot(name, name, item)

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        value.set(slot_key, item)

    def is_open(self, value: Any, label: str) -> bool:
        return bool(value.rebinds(label))

    def path(self, value: Any, parent: str, slot: Slot) -> str:
        return slot.value.__qualname__ if isinstance(slot.value, type) else slot.label


FRAME = FrameKind()
