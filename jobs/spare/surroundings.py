"""Compare what the import of a library may depend on, apart from its own files."""

import dataclasses
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from typing import Any

_NAMES = {
    "variables": "it sets an environment variable before it imports",
    "path": "it changes sys.path before it imports",
    "folder": "it changes its folder before it imports",
    "filters": "it filters warnings before it imports",
    "finders": "it changes how modules are found before it imports",
    "hidden": "it hides modules before it imports",
    "logging": "it sets up logging before it imports",
    "processors": "it changes its processors before it imports",
    "threads": "it starts a thread before it imports",
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Hold the state of this process that an import may read."""

    variables: dict[str, str]
    path: tuple[str, ...]
    folder: str
    filters: tuple[Any, ...]
    finders: tuple[int, ...]
    hidden: tuple[str, ...]
    logging: tuple[Any, ...]
    processors: frozenset[int]
    threads: int

    @classmethod
    def take(cls) -> "Surroundings":
        """Describe the process as it is now."""
        return cls(
            variables=dict(os.environ),
            path=tuple(sys.path),
            folder=os.getcwd(),
            filters=tuple(warnings.filters),
            finders=tuple(map(id, (*sys.meta_path, *sys.path_hooks))),
            hidden=tuple(sorted(name for name, module in [*sys.modules.items()] if not module)),
            logging=_logging(),
            processors=frozenset(os.sched_getaffinity(0)),
            threads=threading.active_count(),
        )

    def difference(self, other: "Surroundings") -> str | None:
        """Say in words what differs; None if nothing does."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) != getattr(other, field.name):
                return _NAMES[field.name]
        return None


def _logging() -> tuple[Any, ...]:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return (30, (), 0)
    root = logging.getLogger()
    return root.level, tuple(map(id, root.handlers)), logging.root.manager.disable
