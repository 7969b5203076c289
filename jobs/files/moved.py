"""Output paths that differ between attempts, such as a folder named by the clock.

The path that the script chose in this attempt is used; files of earlier attempts follow it.
"""

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rekindle.state.run.training_state import TrainingState

_LONGEST: Final = 4_096
_MOST: Final = 1_000
_CLOCK: Final = re.compile(
    r"\d+|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*|[AP]M"
)
_TOKEN: Final = re.compile(r"[\w-]")

FREEZE: Final = (
    "Set `freeze_clock = true` in the spec, or name the folder after the job "
    '(os.environ["REKINDLE_JOB"]): it then has one name in all attempts.'
)


@dataclass(frozen=True, slots=True)
class Move:
    """Describe an attribute of a callback that names another path than in earlier attempts."""

    callback: str
    attribute: str
    old: str
    new: str

    @property
    def is_dated(self) -> bool:
        """True if only numbers and names of days and months differ."""
        return masked(self.old) == masked(self.new)

    @property
    def is_temporary(self) -> bool:
        """True if both are below the folder for temporary files."""
        return all(is_temporary(os.path.abspath(path)) for path in (self.old, self.new))

    def __str__(self) -> str:
        """Return the text for receipts."""
        name = f"{self.callback}.{self.attribute}" if self.callback else "the output folder"
        return f"{name} was {os.path.relpath(self.old)} and is {os.path.relpath(self.new)}"

    def target(self, path: str) -> str | None:
        """Return where an absolute path is in this attempt; None if this move does not concern it.

        Where folders differ everything in them has moved; else the files that the name describes,
        which may be a template.
        """
        old, new = os.path.abspath(self.old), os.path.abspath(self.new)
        folder, after = os.path.dirname(old), os.path.dirname(new)
        if os.path.basename(old) == os.path.basename(new):
            while os.path.basename(folder) == os.path.basename(after):
                folder, after = os.path.dirname(folder), os.path.dirname(after)
            inside = os.path.join(folder, "")
            if path == folder:
                return after
            return os.path.join(after, path[len(inside) :]) if path.startswith(inside) else None
        if path == old or path.startswith(os.path.join(old, "")):
            return new + path[len(old) :]
        start, before, now = _difference(old, new)
        if before and path.startswith(start + before):
            return start + now + path[len(start + before) :]
        return None


class OutputPaths:
    """Hold the paths in the attributes of callbacks, as the script has set them in this attempt.

    Attributes:
        given: for each callback, paths by attribute.
    """

    def __init__(self, callbacks: list[Any]) -> None:
        self.given = [_paths_of(callback) for callback in callbacks]
        self._names = [type(callback).__name__ for callback in callbacks]

    def as_json(self) -> list[Any]:
        """Return the entry ``paths`` of a checkpoint."""
        return [[name, paths] for name, paths in zip(self._names, self.given, strict=True)]

    def moves(self, saved: TrainingState) -> list[Move]:
        """Compare with a checkpoint of the same callbacks; older ones have no paths."""
        before = saved.get("paths", [])
        try:
            if [name for name, _ in before] != self._names:
                return []
            return [
                Move(name, attribute, str(then[attribute]), path)
                for (name, then), now in zip(before, self.given, strict=True)
                for attribute, path in now.items()
                if attribute in then and then[attribute] != path
            ]
        except (TypeError, ValueError):
            return []


def _paths_of(callback: Any) -> dict[str, str]:
    found = {}
    for name, value in vars(callback).items():
        if isinstance(value, str | os.PathLike):
            text = os.fspath(value)
            if isinstance(text, str) and 0 < len(text) < _LONGEST and _is_path(text):
                found[name] = text
    return found


def masked(path: str) -> str:
    """Return a path with a mark for each number, day and month in it."""
    return _CLOCK.sub("#", path)


def dated_like(path: str, others: Iterable[str]) -> list[str]:
    """Select the other paths that differ from ``path`` in numbers, days and months only."""
    form = masked(path)
    return [other for other in others if other != path and masked(other) == form]


def short(path: str, folder: str) -> str:
    """Return an absolute path relative to a folder that it is in; else as it is."""
    inside = path.startswith(os.path.join(folder, ""))
    return os.path.relpath(path, folder) if inside else path


def is_temporary(path: str) -> bool:
    """Return whether a path is below the folder for temporary files, whose names are random."""
    return path.startswith(os.path.join(tempfile.gettempdir(), "tmp"))


class Earlier:
    """Hold the paths that earlier attempts of this job wrote, to name them in errors."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}

    def add(self, paths: Iterable[str]) -> None:
        """Add absolute paths."""
        self._paths.update(dict.fromkeys(paths))

    def of(self, missing: str) -> str | None:
        """Return the path of an earlier attempt that a missing one corresponds to."""
        found = dated_like(os.path.abspath(missing), self._paths)
        return found[-1] if found else None


EARLIER: Final = Earlier()


def _is_path(text: str) -> bool:
    return "://" not in text and "\0" not in text and ("/" in text or "." in text)


def _difference(old: str, new: str) -> tuple[str, str, str]:
    """Split two names into what they begin with and the different rest, at whole words."""
    start = _common(old, new)
    while start and _TOKEN.match(old[start - 1]):
        start -= 1
    end = _common(old[:start:-1], new[:start:-1])
    while end and _TOKEN.match(old[len(old) - end]):
        end -= 1
    return old[:start], old[start : len(old) - end], new[start : len(new) - end]


def _common(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return count
    return min(len(one), len(other))
