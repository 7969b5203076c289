"""Running a job's code from its snapshot, while everything else stays where it was.

A script finds its data, and leaves its results, beside ``__file__``: so ``__file__``,
``sys.path`` and the working folder are those of the original, and only the *code* is read
from the snapshot. That goes for the script and for each module under its root, however it
gets onto ``sys.path``. A module that is not in the snapshot (ignored by git, written by the
script itself, an extension) is read from its folder as it is, and a word is said about it.
"""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import linecache
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.job import Job
from rekindle.state.errors import SourceMissing
from rekindle.state.paths import Run

TREE: Final = "tree"
FILES: Final = "files.json"
_ORDINARY: Final = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
)


class Frozen:
    """The snapshot of one job; use :meth:`of`.

    Attributes:
        root: the original folder, all links resolved.
        tree: the copy of it.
        script: the script's path below both, None where a module is run.
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
        """The script's original folder, for ``sys.path``."""
        return os.path.dirname(os.path.join(self.root, self.script or ""))

    @classmethod
    def of(cls, run: Run, job: Job, warn: Callable[[str, str], None]) -> "Frozen | None":
        """The job's snapshot; None where it runs its code live.

        Args:
            warn: takes a message and a hint.

        Raises:
            SourceMissing: the job has a snapshot, and it is not there.
        """
        if job.source is None:
            return None
        frozen = cls(job.source.root, os.path.realpath(run.source), job.source.script, warn)
        if not os.path.exists(os.path.join(frozen.tree, frozen.script or "")):
            raise SourceMissing(
                "The snapshot of the job's code is not there.",
                where=run.source,
                hint="Put it back from a backup, or submit the job again.",
            )
        return frozen

    def install(self) -> None:
        """Lets imports from under the root find the snapshot first."""
        sys.path_hooks.insert(0, self._hook)
        sys.path_importer_cache.clear()
        sys.meta_path.insert(0, _Editable(self))

    def script_source(self, path: str) -> bytes:
        """The script, which the user named as ``path``; a link there may have changed since.

        Raises:
            OSError: it cannot be read.
        """
        assert self.script is not None
        data = Path(self.tree, self.script).read_bytes()
        self.remember(path, data)
        return data

    def copy_of(self, path: str) -> str | None:
        """Where the copy of an original file or folder is; None where there is none."""
        real = os.path.realpath(path)
        if real == self.root:
            return self.tree
        if not real.startswith(self.root + os.sep):
            return None
        copy = os.path.join(self.tree, real[len(self.root) + 1 :])
        return copy if os.path.exists(copy) else None

    def read(self, path: str) -> bytes:
        """A module's source, by the path of the original."""
        return Path(self.copy_of(path) or path).read_bytes()

    def remember(self, path: str, data: bytes) -> None:
        """Tracebacks, ``inspect`` and AutoGraph must not see a file edited since then."""
        try:
            lines = importlib.util.decode_source(data).splitlines(keepends=True)
        except (SyntaxError, UnicodeDecodeError):
            return
        # no modification time: linecache then never looks at the file itself
        linecache.cache[path] = (len(data), None, lines, path)

    def changed(self) -> list[str]:
        """Files that are no Python code, of which the script reads the original, and whose
        content is another than at acceptance."""
        try:
            files = json.loads(Path(self.tree).with_name(FILES).read_bytes())["files"]
        except (OSError, ValueError, KeyError):
            return []
        found = []
        for name, entry in files.items():
            if name.endswith(".py"):
                continue
            try:
                path = Path(self.root, name)
                same = (
                    path.stat().st_size == entry["bytes"]
                    and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
                )
            except OSError:
                same = False
            if not same:
                found.append(name)
        return found

    def _hook(self, path: str) -> "_Finder":
        copy = self.copy_of(path)
        if copy is None or not os.path.isdir(copy):
            raise ImportError
        return _Finder(self, path, copy)

    def told_live(self, name: str, path: str) -> None:
        self._warn(
            f"The module {name} is not in the snapshot; it is read from {path} as it is now.",
            "Files that git ignores are not kept; a change there changes the job.",
        )


class _Finder:
    """Finds the modules of one folder: those of the snapshot first."""

    def __init__(self, frozen: Frozen, original: str, copy: str) -> None:
        self._frozen = frozen
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
            self._frozen.told_live(fullname, spec.origin)
        elif os.path.isdir(os.path.join(self._copy, tail)):
            # a package without __init__.py, which may be gone from the original by now
            if spec is None:
                spec = importlib.machinery.ModuleSpec(fullname, None)
                spec.submodule_search_locations = [os.path.join(self._original, tail)]
        elif spec is not None:
            self._frozen.told_live(fullname, os.path.join(self._original, tail))
        return spec

    def invalidate_caches(self) -> None:
        self._ordinary.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Any:
        """For ``pkgutil``: what is there to be imported."""
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
            loader=_Loader(fullname, path, self._frozen),
            submodule_search_locations=locations,
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads source from the snapshot under the original's name; keeps no bytecode."""

    def __init__(self, fullname: str, path: str, frozen: Frozen) -> None:
        super().__init__(fullname, path)
        self._frozen = frozen

    def get_data(self, path: str) -> bytes:
        data = self._frozen.read(path)
        if path == self.path:
            self._frozen.remember(path, data)
        return data

    def path_stats(self, path: str) -> Any:
        # without a time python neither reads nor writes bytecode, which would belong to the
        # original file
        raise OSError("a snapshot has no bytecode")


class _Editable(importlib.abc.MetaPathFinder):
    """Packages that setuptools installed as editable come by a finder of its own."""

    def __init__(self, frozen: Frozen) -> None:
        self._frozen = frozen

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
                and self._frozen.copy_of(spec.origin) is not None
            ):
                spec.loader = _Loader(fullname, spec.origin, self._frozen)
                return spec
        return None


def damage(tree: Path, digest: str) -> str | None:
    """What is wrong with a snapshot of this digest, in words; None where it is whole."""
    try:
        record = json.loads(tree.with_name(FILES).read_bytes())
        if hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest() != digest:
            return "its list of files is not the one it was taken with"
        for name, entry in record["files"].items():
            if hashlib.sha256((tree / name).read_bytes()).hexdigest() != entry["sha256"]:
                return f"{name} is not what it was taken as"
    except FileNotFoundError as error:
        return f"{os.path.basename(str(error.filename))} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({error})"
    return None
