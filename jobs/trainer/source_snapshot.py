"""Run a job's code from its snapshot, while all other files stay the originals.

A script finds its data, and writes its results, beside ``__file__``: so ``__file__``,
``sys.path`` and the working folder are those of the original, and only the *code* is read
from the snapshot. This applies to the script and to each module under its root, however the
folder gets onto ``sys.path``. A module that is not in the snapshot (ignored by git, written by
the script itself, an extension) is read from its folder, with a warning.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.job import Job
from rekindle.state import source_tree
from rekindle.state.errors import SourceMissing
from rekindle.state.paths import Run

_ORDINARY: Final = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
)


class SourceSnapshot:
    """The snapshot of one job's code; use :meth:`of`.

    Attributes:
        root: the original folder, all links resolved.
        tree: its copy.
        script: the script's path below both, None if a module is run.
    """

    def __init__(
        self, root: str, tree: str, script: str | None, warn: Callable[[str, str], None]
    ) -> None:
        self.root = root
        self.tree = tree
        self.script = script
        self._warn = warn

    @property
    def folder(self) -> str:
        """Original folder of the script, for ``sys.path``."""
        return os.path.dirname(os.path.join(self.root, self.script or ""))

    @classmethod
    def of(cls, run: Run, job: Job, warn: Callable[[str, str], None]) -> "SourceSnapshot | None":
        """Open the job's snapshot; None for a live job.

        Args:
            warn: takes a message and a hint.

        Raises:
            SourceMissing: the job has a snapshot, and it does not exist.
        """
        if job.source is None:
            return None
        snapshot = cls(job.source.root, os.path.realpath(run.source), job.source.script, warn)
        if not os.path.exists(os.path.join(snapshot.tree, snapshot.script or "")):
            raise SourceMissing(
                "The snapshot of the job's code does not exist.",
                where=run.source,
                hint="Restore it from a backup, or submit the job again.",
            )
        return snapshot

    def install(self) -> None:
        """Make imports of modules under the root find the snapshot first."""
        sys.path_hooks.insert(0, self._hook)
        sys.path_importer_cache.clear()
        sys.meta_path.insert(0, _Editable(self))

    def script_source(self, path: str) -> bytes:
        """Read the script that the user named as ``path``; a link there may have changed.

        Raises:
            OSError: it cannot be read.
        """
        assert self.script is not None
        data = Path(self.tree, self.script).read_bytes()
        self.remember(path, data)
        return data

    def copy_of(self, path: str) -> str | None:
        """Find the copy of an original file or folder; None if the snapshot lacks it."""
        real = os.path.realpath(path)
        if real == self.root:
            return self.tree
        if not real.startswith(self.root + os.sep):
            return None
        copy = os.path.join(self.tree, real[len(self.root) + 1 :])
        return copy if os.path.exists(copy) else None

    def read(self, path: str) -> bytes:
        """Read a module's source by the path of the original."""
        return Path(self.copy_of(path) or path).read_bytes()

    def remember(self, path: str, data: bytes) -> None:
        """Show tracebacks, ``inspect`` and AutoGraph the source that runs, not a later edit."""
        try:
            lines = importlib.util.decode_source(data).splitlines(keepends=True)
        except (SyntaxError, UnicodeDecodeError):
            return
        # without a modification time linecache never checks the file itself
        linecache.cache[path] = (len(data), None, lines, path)

    def changed(self) -> list[str]:
        """List changed files of which the script reads the original."""
        return source_tree.changed_data(Path(self.tree), Path(self.root))

    def _hook(self, path: str) -> "_Finder":
        copy = self.copy_of(path)
        if copy is None or not os.path.isdir(copy):
            raise ImportError
        return _Finder(self, path, copy)

    def warn_live(self, name: str, path: str) -> None:
        """Warn that a module is read from its original folder."""
        self._warn(
            f"The module {name} is not in the snapshot; its current file is read: {path}.",
            "Files that git ignores are not in the snapshot; a later change there changes the job.",
        )


class _Finder:
    """Find the modules of one folder, first in the snapshot."""

    def __init__(self, snapshot: SourceSnapshot, original: str, copy: str) -> None:
        self._snapshot = snapshot
        self._original = original
        self._copy = copy
        self._ordinary = importlib.machinery.FileFinder(original, *_ORDINARY)

    def find_spec(
        self, fullname: str, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        tail = fullname.rpartition(".")[2]
        package = os.path.join(tail, "__init__.py")
        if os.path.isfile(os.path.join(self._copy, package)):
            return self._spec(fullname, package, [os.path.join(self._original, tail)])
        if os.path.isfile(os.path.join(self._copy, f"{tail}.py")):
            return self._spec(fullname, f"{tail}.py", None)
        spec = self._ordinary.find_spec(fullname, target)
        if spec is not None and spec.origin is not None:
            self._snapshot.warn_live(fullname, spec.origin)
        elif os.path.isdir(os.path.join(self._copy, tail)):
            # a package without __init__.py, which the original may lack by now
            if spec is None:
                spec = importlib.machinery.ModuleSpec(fullname, None)
                spec.submodule_search_locations = [os.path.join(self._original, tail)]
        elif spec is not None:
            self._snapshot.warn_live(fullname, os.path.join(self._original, tail))
        return spec

    def invalidate_caches(self) -> None:
        self._ordinary.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Any:
        """List importable modules, for ``pkgutil``."""
        import pkgutil

        yield from pkgutil.iter_importer_modules(  # type: ignore[attr-defined]
            importlib.machinery.FileFinder(self._copy, *_ORDINARY), prefix
        )

    def _spec(
        self, fullname: str, name: str, locations: list[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        path = os.path.join(self._original, name)
        return importlib.util.spec_from_file_location(
            fullname,
            path,
            loader=_Loader(fullname, path, self._snapshot),
            submodule_search_locations=locations,
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Read source from the snapshot under the original's name, without bytecode."""

    def __init__(self, fullname: str, path: str, snapshot: SourceSnapshot) -> None:
        super().__init__(fullname, path)
        self._snapshot = snapshot

    def get_data(self, path: str) -> bytes:
        data = self._snapshot.read(path)
        if path == self.path:
            self._snapshot.remember(path, data)
        return data

    def path_stats(self, path: str) -> Any:
        # without a time Python neither reads nor writes the bytecode of the original file
        raise OSError("a snapshot has no bytecode")


class _Editable(importlib.abc.MetaPathFinder):
    """Find packages that setuptools installed as editable, which have their own finder."""

    def __init__(self, snapshot: SourceSnapshot) -> None:
        self._snapshot = snapshot

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if not str(getattr(finder, "__module__", "")).startswith("__editable__"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if (
                spec is not None
                and spec.origin
                and spec.origin.endswith(".py")
                and self._snapshot.copy_of(spec.origin) is not None
            ):
                return importlib.util.spec_from_file_location(
                    fullname,
                    spec.origin,
                    loader=_Loader(fullname, spec.origin, self._snapshot),
                    submodule_search_locations=spec.submodule_search_locations,
                )
        return None
