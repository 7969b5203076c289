"""Import one library, and note what that changes in this process, to make it again later."""

import importlib
import os
import sys
import types
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs.spare import recorder
from rekindle.jobs.spare.randomness import Randomness
from rekindle.jobs.spare.surroundings import Surroundings

_FRONT: Final = object()


class Unfit(Exception):
    """An import has an effect that cannot be undone and made again."""


@dataclass(frozen=True, slots=True)
class Added:
    """Items that an import has added to a list, each with the one before it."""

    items: tuple[tuple[Any, Any], ...]

    @classmethod
    def between(cls, before: Sequence[Any], after: Sequence[Any], what: str) -> "Added":
        """Compare a list before and after.

        Raises:
            Unfit: items were removed, or have another order.
        """
        known = [*map(id, before)]
        if [id(item) for item in after if id(item) in known] != known:
            raise Unfit(f"it changes {what}")
        pairs = zip((_FRONT, *after), after, strict=False)
        return cls(tuple((item, above) for above, item in pairs if id(item) not in known))

    def put(self, items: list[Any]) -> None:
        """Add the items again."""
        for item, above in self.items:
            at = next((n for n, one in enumerate(items) if one is above), -1)
            items.insert(at + 1, item)


@dataclass(frozen=True, slots=True)
class Group:
    """The modules that one import has loaded, and its other effects.

    Attributes:
        name: the module that was imported.
        module: what its name stood for in ``sys.modules`` afterwards.
        variables: that it has set.
        randomness: the states behind it.
    """

    name: str
    modules: dict[str, types.ModuleType]
    variables: dict[str, str]
    filters: Added
    finders: Added
    hooks: Added
    randomness: Randomness

    @classmethod
    def load(cls, name: str) -> "Group":
        """Import a library.

        Raises:
            Unfit: it is no library, or has an effect that cannot be made again.
        """
        spec = importlib.util.find_spec(name)
        if spec is None or not recorder.is_library(spec):
            raise Unfit(f"{name} is no installed package")
        before, known = Surroundings.take(), set(sys.modules)
        filters, finders, hooks = [*warnings.filters], _finders(), [*sys.path_hooks]
        importlib.import_module(name)
        after = Surroundings.take()
        for field in ("path", "folder", "logging", "processors", "threads"):
            if getattr(before, field) != getattr(after, field):
                raise Unfit(f"the import of {name} changes something: {field}")
        if before.variables.keys() - after.variables.keys():
            raise Unfit(f"the import of {name} removes a variable")
        modules = {n: m for n, m in sys.modules.items() if n not in known and not is_stdlib(n)}
        for one in modules.values():
            found = getattr(one, "__spec__", None)
            if found is not None and found.has_location and not recorder.is_library(found):
                raise Unfit(f"the import of {name} loads {found.origin}, which is no library")
        return cls(
            name,
            modules,
            {k: v for k, v in after.variables.items() if before.variables.get(k) != v},
            Added.between(filters, warnings.filters, "the filters of warnings"),
            Added.between(finders, _finders(), "sys.meta_path"),
            Added.between(hooks, sys.path_hooks, "sys.path_hooks"),
            Randomness.take(),
        )

    def put(self) -> None:
        """Make the effects again, except those on random states."""
        sys.modules.update(self.modules)
        os.environ.update(self.variables)
        self.filters.put(warnings.filters)  # type: ignore[arg-type]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        self.finders.put(sys.meta_path)
        self.hooks.put(sys.path_hooks)


def is_stdlib(name: str) -> bool:
    """Return whether a module is of Python or of rekindle: it may stay loaded."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top == "rekindle"


def _finders() -> list[Any]:
    return [
        finder
        for finder in sys.meta_path
        if not str(getattr(type(finder), "__module__", "")).startswith("rekindle.")
    ]
