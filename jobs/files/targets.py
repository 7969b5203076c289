"""Files that callbacks write, found from their attributes.

Python's ``open`` and ``h5py.File`` are noted when they happen; this finds what TensorFlow writes
in C++: a path that an attribute names, that exists, and that has changed since the stage began.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

_FIELD: Final = re.compile(r"\{[^{}]*\}")
_MOST: Final = 1_000
_LONGEST: Final = 4_096
# file systems round times
_SLACK_S: Final = 2.0


def of(callbacks: list[Any], begun_at: float) -> Callable[[], Iterable[str]]:
    """Return a function that lists the files that callbacks have written in their stage.

    Args:
        begun_at: Unix time at which the stage began in this process.
    """

    def find() -> Iterator[str]:
        for callback in callbacks:
            for value in list(vars(callback).values()):
                for path in _paths(value):
                    if os.path.isfile(path) and os.stat(path).st_mtime >= begun_at - _SLACK_S:
                        yield path

    return find


def _paths(value: Any) -> list[str]:
    """Return the paths that an attribute may name; a template names all that fit it."""
    if not isinstance(value, str | os.PathLike):
        return []
    text = os.fspath(value)
    if not isinstance(text, str) or not 0 < len(text) < _LONGEST or "\0" in text:
        return []
    if "://" in text or not ("/" in text or "." in text):
        return []
    if not _FIELD.search(text):
        return [text]
    pattern = "*".join(map(glob.escape, _FIELD.split(text)))
    return [path for path, _ in zip(glob.iglob(pattern), range(_MOST), strict=False)]
