"""Record which libraries a script imports before it does anything else.

That list, of one attempt, is what a spare of a later one imports. It ends at the first import that
may depend on what the script did before. Where this attempt runs in a spare, the modules that the
spare has imported are handed to the script one by one, under the same conditions; if one does not
hold, the attempt starts again in an interpreter of its own.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol

from rekindle.jobs import code_origin
from rekindle.jobs.spare import plain_code
from rekindle.jobs.spare.surroundings import Surroundings

_MOST: Final = 100


class Supply(Protocol):
    """Modules that were imported before the attempt began."""

    @property
    def next(self) -> str | None:
        """Name of the module that the script has to import next; None if it has all."""

    def restart(self, why: str) -> NoReturn:
        """Start the attempt again in an interpreter of its own."""


class Recorder(importlib.abc.MetaPathFinder):
    """See each import of the script before all other finders do.

    Args:
        ended: called once, with the modules and the reason why the list ends with them.
        supply: what a spare holds; None without one.
    """

    def __init__(
        self, ended: Callable[[list[str], str], None], supply: Supply | None = None
    ) -> None:
        self._modules: list[str] = []
        self._ended = ended
        self._over = False
        self._supply = supply
        self._inside = False
        self._asking = False
        self._owner = os.getpid()
        self._expected: Surroundings | None = None

    def install(self) -> None:
        """Begin to record: the script begins now."""
        sys.meta_path.insert(0, self)
        self._expected = Surroundings.take()

    def end(self, why: str) -> None:
        """Record nothing further, for a reason."""
        if self._over or os.getpid() != self._owner:
            return
        if self._supply is not None and self._supply.next is not None:
            self._supply.restart(why)
        self._over = True
        self._ended(self._modules, why)
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Watch an import that the script itself makes; leave all others to the next finder."""
        if self._inside or self._asking or not self._is_watched(fullname):
            return None
        expected = self._supply.next if self._supply is not None else None
        spec = self._ask(fullname, path, target)
        if spec is None:
            return None
        why = self._why_not(spec, held=expected == fullname)
        if expected is not None and expected != fullname:
            why = why or f"it imports {fullname} where {expected} was expected"
        if why is None and len(self._modules) >= _MOST:
            why = f"it imports more than {_MOST} modules"
        if why is not None:
            self.end(why)
        else:
            self._attach(fullname, spec)
        return spec

    def _is_watched(self, name: str) -> bool:
        top = name.partition(".")[0]
        return (
            not self._over
            and top not in sys.stdlib_module_names
            and top != "rekindle"
            and os.getpid() == self._owner
            and threading.current_thread() is threading.main_thread()
        )

    def _ask(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        self._asking = True
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                if finder is self or find is None:
                    continue
                spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    return spec
        finally:
            self._asking = False
        return None

    def _why_not(self, spec: importlib.machinery.ModuleSpec, *, held: bool) -> str | None:
        """Say why this import may depend on the script; None if it does not."""
        if not held and not is_library(spec):
            return f"it imports {spec.name}, a module of its own"
        frame = _script_frame()
        if frame is None or not plain_code.is_plain(frame.f_code, frame.f_lasti):
            return f"it does more than to import and define before it imports {spec.name}"
        now = Surroundings.take()
        return self._expected.difference(now) if self._expected is not None else None

    def _attach(self, name: str, spec: importlib.machinery.ModuleSpec) -> None:
        loader: Any = spec.loader
        plain = getattr(loader, "exec_module", None)
        if plain is None:
            self._modules.append(name)  # a namespace: nothing is executed
            return

        @functools.wraps(plain)
        def exec_module(module: types.ModuleType) -> None:
            if self._inside:
                plain(module)
                return
            self._inside = True
            try:
                plain(module)
            finally:
                self._inside = False
                if vars(loader).get("exec_module") is exec_module:
                    del loader.exec_module
            self._modules.append(name)
            self._expected = Surroundings.take()

        try:
            loader.exec_module = exec_module
        except AttributeError:
            self.end(f"the import of {name} cannot be watched")


def is_library(spec: importlib.machinery.ModuleSpec) -> bool:
    """Return whether a module is of an installed package."""
    places = [spec.origin] if spec.has_location else [*(spec.submodule_search_locations or ())]
    return bool(places) and all(
        place is not None and code_origin.is_library(place) for place in places
    )


def _script_frame() -> types.FrameType | None:
    """Find the frame of the script's own top level that imports; None for any other place."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "__main__":
            return frame if frame.f_code.co_name == "<module>" else None
        frame = frame.f_back
    return None
