"""Run actions right after a module was executed, independent of its finder and importer.

A finder at the front of ``sys.meta_path`` attaches to the loader that the other finders return. It
stays until the module has been executed: TensorFlow, and many scripts, only look up Keras
(``importlib.util.find_spec``) before it is imported. A module that another finder supplied,
or that was executed before, is found at the next import or by :meth:`AfterImport.catch_up`.
"""

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

Action = Callable[[types.ModuleType], None]


class AfterImport(importlib.abc.MetaPathFinder):
    """Watch modules by name.

    Args:
        failed: called with the module's name and the exception of its action; it must end the
            process. An importer would swallow the exception: TensorFlow imports Keras under
            ``except (ImportError, AttributeError): pass``.
    """

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._pending: dict[str, tuple[Action, tuple[str, ...]]] = {}
        self._watched: set[str] = set()
        self._executing: list[str] = []
        self._searching: set[str] = set()
        self._executed: set[str] = set()

    def install(self) -> None:
        """Insert the finder before all others, and run the actions that are due already."""
        sys.meta_path.insert(0, self)
        self.catch_up()

    def remove(self) -> None:
        """Remove the finder; actions that are not due yet do not run."""
        self._pending.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def add(self, name: str, action: Action, *, outside: Sequence[str] = ()) -> None:
        """Run ``action`` once with the module ``name`` after it was executed.

        Args:
            outside: modules that must not be partly executed then: the action waits for their end.
        """
        self._pending[name] = (action, tuple(outside))
        self._watched.update((name, *outside))

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of modules whose action has not run."""
        return tuple(self._pending)

    def catch_up(self) -> None:
        """Run the actions of modules that have been executed by any importer."""
        for name in tuple(self._pending):
            module = sys.modules.get(name)
            if module is None or self._is_executing(name):
                continue
            # an action that imports modules may have run this one
            action, outside = self._pending.get(name, (None, ()))
            if action is None or any(self._is_executing(other) for other in outside):
                continue
            del self._pending[name]
            try:
                action(module)
            except BaseException as error:
                self._failed(name, error)
                raise
        if not self._pending and self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Attach to the loader of a watched module; leave all others to the next finder."""
        if self._pending and not self._executing:
            self.catch_up()
        if fullname not in self._watched or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = _ask_others(self, fullname, path, target)
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            self._attach(fullname, spec)
        return spec

    def _attach(self, name: str, spec: importlib.machinery.ModuleSpec) -> None:
        # the loader keeps its type and all its methods: code that only looks up the spec reads
        # source, path and resources from it as before
        loader: Any = spec.loader
        plain = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            if module.__name__ != name:  # one loader for all modules of a zip file
                plain(module)
                return
            self._executing.append(name)
            # loading creates hundreds of thousands of objects and frees none: garbage collection
            # meanwhile takes a fifth to a half of the time of a relaunch
            collecting = gc.isenabled()
            gc.disable()
            try:
                plain(module)
            finally:
                self._executing.remove(name)
                if collecting:
                    gc.enable()
                if vars(loader).get("exec_module") is exec_module:
                    del loader.exec_module
            self._executed.add(name)
            self.catch_up()

        try:
            loader.exec_module = exec_module
        except AttributeError:
            pass  # a loader that takes no attributes: the next import finds the module

    def _is_executing(self, name: str) -> bool:
        if name in self._executing:
            return True
        if name in self._executed:
            return False
        spec = getattr(sys.modules.get(name), "__spec__", None)
        return bool(getattr(spec, "_initializing", False))


def _ask_others(
    own: importlib.abc.MetaPathFinder,
    name: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None,
) -> importlib.machinery.ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is own or find is None:
            continue
        spec = find(name, path, target)
        if spec is not None:
            found: importlib.machinery.ModuleSpec = spec
            return found
    return None
