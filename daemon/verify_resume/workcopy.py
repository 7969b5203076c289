"""Copy a job's folder to train in, so that no file of the user is overwritten."""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from rekindle.state.errors import UsageError

MAX_BYTES: Final = 1 << 30
_LEFT_OUT: Final = frozenset(
    {
        ".git",
        ".hg",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
    }
)


def make(source: Path, target: Path, *, link: Collection[str] = ()) -> None:
    """Copy ``source`` to ``target``, without version control, environments and caches.

    Args:
        link: paths of read-only data below ``source``, which are linked, not copied.

    Raises:
        UsageError: the folder is too large, or a path in ``link`` does not exist.
        OSError: a file cannot be read or written.
    """
    linked = {os.path.normpath(path) for path in link}
    for path in linked:
        if not (source / path).exists():
            raise UsageError(
                "The path of --link does not exist.",
                where=source / path,
                hint="Name a file or folder below the job's folder with --link.",
            )
    total = 0
    for path, info in _files(source, linked):
        total += info.st_size
        if total > MAX_BYTES:
            raise UsageError(
                f"The job's folder has more than {MAX_BYTES >> 30} GiB; verify-resume trains "
                "in a copy of it.",
                where=source,
                hint="Name its read-only data with --link, which links it instead of copying; the "
                f"last file counted was {path}.",
            )
    _copy(source, target, "", linked, source.resolve())


def _files(source: Path, linked: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    for folder, folders, files in os.walk(source):
        within = os.path.relpath(folder, source)
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT and os.path.normpath(os.path.join(within, name)) not in linked
        ]
        for name in files:
            path = os.path.normpath(os.path.join(within, name))
            if path not in linked:
                yield path, os.lstat(os.path.join(folder, name))


def _copy(source: Path, target: Path, within: str, linked: Collection[str], top: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source):
        path = os.path.normpath(os.path.join(within, entry.name))
        here = target / entry.name
        if path in linked:
            here.symlink_to(Path(entry.path).resolve())
        elif entry.is_symlink():
            to = Path(entry.path).resolve()
            # a relative link within the folder must lead to the copy, not to the original
            here.symlink_to(
                os.readlink(entry.path)
                if to.is_relative_to(top) and not os.path.isabs(os.readlink(entry.path))
                else to
            )
        elif entry.is_dir(follow_symlinks=False):
            if entry.name not in _LEFT_OUT:
                _copy(Path(entry.path), here, path, linked, top)
        elif entry.is_file(follow_symlinks=False):
            shutil.copy2(entry.path, here)
