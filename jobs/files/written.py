"""Note which files this process opens for writing while a stage runs.

An audit hook sees every ``open`` of Python code (``open``, ``os.open``, numpy, zipfile, pickle,
json, ...) and every rename; HDF5 opens its files in C, so that ``h5py.File`` is wrapped.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from rekindle.jobs.attempt import safe_output
from rekindle.jobs.files.moved import is_temporary
from rekindle.jobs.files.open_files import OPEN_FILES

_MOST: Final = 10_000
_CODE: Final = (".py", ".pyc")
_SPECIAL: Final = ("/dev/", "/proc/", "/sys/")
_AUTOGRAPH: Final = "/__autograph_generated_file"
"""Code that TensorFlow writes to the folder for temporary files, and loads at once."""


class Written:
    """Collect paths in the order in which they were first written; one per process."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._owner = os.getpid()
        self._active: Callable[[], bool] = lambda: False
        self._installed = False
        self._outside: list[Callable[[str, int], None]] = []
        self._read: Any = None
        self._database: Any = None

    def install(self) -> None:
        """Begin to watch this process, once: folders are noted from now on."""
        if not self._installed:
            self._installed = True
            self._owner = os.getpid()
            sys.addaudithook(self._hook)
            OPEN_FILES.watch()
            safe_output.also_flush(OPEN_FILES.flush)

    def outside(self, opened: Callable[[str, int], None]) -> None:
        """Call a function with path and flags of each file that is opened outside of stages."""
        self._outside.append(opened)

    def begin(self, active: Callable[[], bool]) -> None:
        """Begin to note paths, of a new stage.

        Args:
            active: returns False once the stage is left.
        """
        self.install()
        self._paths = {}
        self._active = active
        _wrap_hdf5(self.note)

    @property
    def paths(self) -> list[str]:
        """Absolute paths that were opened for writing since the stage began."""
        return list(self._paths)

    @property
    def folders(self) -> list[str]:
        """Absolute paths of the folders that the script has made, outside of stages as well."""
        return list(self._folders)

    @property
    def last_read(self) -> str | None:
        """Absolute path of the file that was last opened for reading only."""
        return _absolute(self._read)

    @property
    def last_database(self) -> str | None:
        """Absolute path of the SQLite database that was last opened."""
        return _absolute(self._database)

    def note(self, path: Any) -> None:
        """Note a path that is about to be written; anything else is passed over."""
        if self._active():
            self._add(path, self._paths)
        else:
            self._pass_on(path, os.O_RDWR)

    def _add(self, path: Any, paths: dict[str, None]) -> None:
        if os.getpid() != self._owner or len(paths) >= _MOST:
            return
        text = _absolute(path)
        if text is not None and not text.startswith(_SPECIAL) and _AUTOGRAPH not in text:
            paths[text] = None

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        # called for each audit event of the process: nothing may be raised, all must be cheap
        if event not in _EVENTS:
            return
        if event == "open":
            path, flags = args[0], args[2] if isinstance(args[2], int) else 0
            is_code = isinstance(path, str) and path.endswith(_CODE)
            if not is_code and not self._active():
                self._pass_on(path, flags)
            if flags & os.O_ACCMODE:
                OPEN_FILES.opened(path)
                if self._active():
                    self._add(path, self._paths)
            elif not is_code:
                self._read = path
        elif event == "os.rename":
            self.note(args[1])
        elif event == "sqlite3.connect":
            self._database = args[0]
        elif event == "os.mkdir" and isinstance(args[0], str) and not is_temporary(args[0]):
            self._add(args[0], self._folders)

    def _pass_on(self, path: Any, flags: int) -> None:
        if not self._outside or os.getpid() != self._owner:
            return
        text = _absolute(path)
        if text is not None and not text.startswith(_SPECIAL):
            for opened in self._outside:
                with contextlib.suppress(Exception):
                    opened(text, flags)


_EVENTS: Final = frozenset({"open", "os.rename", "sqlite3.connect", "os.mkdir"})


def _absolute(path: Any) -> str | None:
    if path is None or isinstance(path, int):
        return None
    try:
        return os.path.abspath(os.fsdecode(path))
    except (TypeError, ValueError, OSError):
        return None


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
