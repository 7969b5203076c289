"""Note which files this process opens for writing while a stage runs.

An audit hook sees every ``open`` of Python code (``open``, ``os.open``, numpy, zipfile, pickle,
json, ...) and every rename; HDF5 opens its files in C, so that ``h5py.File`` is wrapped.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

_MOST: Final = 10_000
_SPECIAL: Final = ("/dev/", "/proc/", "/sys/")


class Written:
    """Collect paths in the order in which they were first written; one per process."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._owner = os.getpid()
        self._active: Callable[[], bool] = lambda: False
        self._installed = False

    def begin(self, active: Callable[[], bool]) -> None:
        """Begin to note paths, of a new stage.

        Args:
            active: returns False once the stage is left.
        """
        self._paths = {}
        self._owner = os.getpid()
        self._active = active
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook)
        _wrap_hdf5(self.note)

    @property
    def paths(self) -> list[str]:
        """Absolute paths that were opened for writing since the stage began."""
        return list(self._paths)

    def note(self, path: Any) -> None:
        """Note a path that is about to be written; anything else is passed over."""
        if not self._active() or os.getpid() != self._owner or len(self._paths) >= _MOST:
            return
        if isinstance(path, int):
            return
        try:
            text = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError, OSError):
            return
        if not text.startswith(_SPECIAL):
            self._paths[text] = None

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        # called for each audit event of the process: nothing may be raised, all must be cheap
        if event == "open":
            if isinstance(args[2], int) and args[2] & os.O_ACCMODE:
                self.note(args[0])
        elif event == "os.rename":
            self.note(args[1])


def _wrap_hdf5(note: Callable[[Any], None]) -> None:
    """Let ``h5py.File`` note the files that it opens for writing; nothing without h5py."""
    file = getattr(sys.modules.get("h5py"), "File", None)
    if file is None or hasattr(file.__init__, "rekindle_notes"):
        return
    plain = file.__init__

    @functools.wraps(plain)
    def noted(self: Any, name: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> None:
        if mode != "r":
            note(name)
        plain(self, name, mode, *args, **kwargs)

    vars(noted)["rekindle_notes"] = True
    type.__setattr__(file, "__init__", noted)


WRITTEN: Final = Written()
