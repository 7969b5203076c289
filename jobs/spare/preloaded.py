"""Hand the modules of a spare to the script, when it imports them."""

import importlib.abc
import importlib.machinery
import os
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from rekindle.jobs import journal_writer
from rekindle.jobs.attempt import safe_output
from rekindle.jobs.spare.group import Group


class Preloaded(importlib.abc.MetaPathFinder):
    """Modules that were imported before the attempt began, in the order of the script.

    Args:
        groups: what each import has changed.
        variables, filters, finders, hooks: of the process before the first of them.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        variables: dict[str, str],
        filters: Sequence[Any],
        finders: Sequence[Any],
        hooks: Sequence[Any],
    ) -> None:
        self._left = list(groups)
        self._held = {name for group in groups for name in group.modules}
        self._variables = variables
        self._filters = filters
        self._finders = finders
        self._hooks = hooks
        self._served: Callable[[], None] = lambda: None

    @property
    def next(self) -> str | None:
        """Name of the module that the script has to import next; None if it has all."""
        return self._left[0].name if self._left else None

    def hide(self, late: Mapping[str, str]) -> None:
        """Let the process look as before the imports.

        Args:
            late: variables that are known with the attempt only.
        """
        self._variables.update(late)
        for name in self._held:
            del sys.modules[name]
        os.environ.clear()
        os.environ.update(self._variables)
        warnings.filters[:] = self._filters  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        sys.meta_path[:] = self._finders
        sys.path_hooks[:] = self._hooks

    def install(self, served: Callable[[], None]) -> None:
        """Supply the modules from now on.

        Args:
            served: called when modules are in ``sys.modules``: what waits for one can run.
        """
        self._served = served
        # behind finders that watch modules, before those that load them
        at = next(
            (n for n, one in enumerate(sys.meta_path) if one in self._finders), len(sys.meta_path)
        )
        sys.meta_path.insert(at, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Supply the next module of the list; a module that is held is never loaded twice."""
        if fullname == self.next:
            module = self._left[0].modules[fullname]
            spec = importlib.machinery.ModuleSpec(fullname, _Loader(module, self._put))
            if hasattr(module, "__path__"):
                spec.submodule_search_locations = [*module.__path__]
            return spec
        if fullname in self._held and self._left:
            self.restart(f"it imports {fullname} where {self.next} was expected")
        return None

    def restart(self, why: str) -> NoReturn:
        """Start the attempt again in an interpreter of its own."""
        journal_writer.log_line(
            f"the spare does not fit the script: {why}; starting in an interpreter of its own."
        )
        safe_output.flush()
        os.execve(sys.executable, sys.orig_argv, self._variables)  # noqa: S606

    def _put(self) -> None:
        group = self._left.pop(0)
        group.put()
        self._served()
        group.randomness.put()
        if not self._left:
            self._held = set()
            sys.meta_path.remove(self)


class _Loader(importlib.abc.Loader):
    """Load a module that exists."""

    def __init__(self, module: types.ModuleType, put: Callable[[], None]) -> None:
        self._module = module
        self._spec = getattr(module, "__spec__", None)
        self._put = put

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        # importlib has given it the spec of this loader
        vars(module)["__spec__"] = self._spec
        self._put()
