"""List the files that are a job's code.

In a git repository: the tracked files and those that are neither tracked nor ignored. Elsewhere:
the code in the script's folder and below. Nothing of the repository is run: no hook, filter or
monitor.
"""

import functools
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rekindle.daemon.source import secret_files
from rekindle.daemon.source.git import Git, GitFailed
from rekindle.state.counted import counted

CODE: Final = frozenset(
    {
        ".py",
        ".pyi",
        ".pyx",
        ".pxd",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".cxx",
        ".hpp",
        ".cu",
        ".cuh",
        ".toml",
        ".yaml",
        ".yml",
        ".ini",
        ".cfg",
        ".sh",
    }
)
"""Endings of files that programs read; they enter the snapshot before all others."""
_VISITS: Final = 20_000
GIT_S: Final = 30.0
_NESTING: Final = 5


@dataclass(slots=True)
class Listing:
    """The files of a snapshot; paths are relative to ``root``, with ``/``.

    Attributes:
        files: an ordered set of names.
        tracked: git's object id of each file in HEAD.
        flat: only the files beside the script are listed.
        notes: why other files are listed than a reader would expect, in sentences.
    """

    root: Path
    files: dict[str, None]
    left_out: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    tracked: dict[str, str] = field(default_factory=dict)
    dirty: bool | None = None
    untracked: int = 0
    flat: bool = False
    notes: list[str] = field(default_factory=list)

    def leave_out(self, name: str, why: str) -> None:
        """Remove a file from the listing, with the reason."""
        self.files.pop(name, None)
        self.left_out[name] = why

    def only_beside(self, folder: Path) -> None:
        """Restrict the listing to the Python files in ``folder``, without its sub-folders."""
        prefix = "" if folder == self.root else f"{folder.relative_to(self.root).as_posix()}/"
        self.flat = True
        self.left_out.clear()
        self.left_out["(folders below)"] = "hold too much to be searched for code"
        self.files = {
            name: None
            for name in self.files
            if name.startswith(prefix) and "/" not in name[len(prefix) :] and name.endswith(".py")
        }


def list_code(folder: Path, exclude: Path, within: float = GIT_S) -> Listing:
    """List the code in ``folder``, an absolute path without links.

    Args:
        exclude: a folder that is never listed.
        within: seconds that git has, for all its answers together.
    """
    repository = _repository(folder)
    if repository is None:
        return _folder_listing(folder, exclude)
    try:
        return _git_listing(Git(repository, time.monotonic() + within), folder, exclude)
    except GitFailed as error:
        listing = _folder_listing(folder, exclude)
        listing.notes.append(
            f"The repository {repository} was not read as one ({error}): the code in the script's "
            "folder and below was taken, as without git."
        )
        return listing


def _repository(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if os.path.lexists(place / ".git"):
            return place
    return None


def _git_listing(git: Git, folder: Path, exclude: Path) -> Listing:
    """List the files of a repository.

    Raises:
        GitFailed: git cannot read it.
    """
    git.refuse_special_files(folder)
    names = _repository_files(git, "", exclude, 0)
    if names is None:
        raise GitFailed("git cannot list it")
    listing = Listing(git.root, dict.fromkeys(names))
    known = functools.cache(functools.partial(_known_to, git))
    _leave_environments_out(listing, known)
    if secret_files.is_home(git.root):
        _leave_home_out(listing, folder, known())
    commit = git("rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return listing
    for line in (git("ls-tree", "-r", "-z", "HEAD") or b"").split(b"\0"):
        about, _, name = line.partition(b"\t")
        parts = about.split()
        if len(parts) == 3 and parts[0] in (b"100644", b"100755"):
            listing.tracked[os.fsdecode(name)] = parts[2].decode()
    return replace(
        listing,
        commit=commit.decode().strip(),
        untracked=sum(name not in listing.tracked for name in listing.files),
        dirty=any(name not in listing.files for name in listing.tracked),
    )


def _repository_files(git: Git, prefix: str, exclude: Path, depth: int) -> list[str] | None:
    """List the files that git knows below ``prefix``, including nested repositories."""
    place = git.root / prefix
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    names = git(*words, below=prefix)
    if names is None:
        return None
    found = []
    for raw in names.split(b"\0"):
        name = os.fsdecode(raw).rstrip("/")
        path = os.path.join(place, name)
        if not name or f"{path}/".startswith(f"{exclude}/"):
            continue
        try:
            is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            continue
        if is_folder:
            # a submodule, or another repository inside of this one
            if depth < _NESTING and os.path.lexists(os.path.join(path, ".git")):
                found += _repository_files(git, f"{prefix}{name}/", exclude, depth + 1) or []
            continue
        found.append(prefix + name)
    return found


def _known_to(git: Git) -> set[str]:
    """Return the names that git tracks, without those of nested repositories."""
    return {os.fsdecode(name) for name in (git("ls-files", "-z") or b"").split(b"\0")}


def _leave_environments_out(listing: Listing, known: Callable[[], set[str]]) -> None:
    """Leave out installed packages that nobody tracks and that `.gitignore` has forgotten."""
    found: dict[str, int] = {}
    for name in listing.files:
        folder, _, last = name.rpartition("/")
        if last == "pyvenv.cfg" or name.endswith("/conda-meta/history"):
            found[folder.removesuffix("/conda-meta")] = 0
        elif "/node_modules/" in f"/{folder}/":
            found[f"{folder}/".partition("node_modules/")[0] + "node_modules"] = 0
    if not found:
        return
    tracked = known()
    for name in [*listing.files]:
        for folder in found:
            if name.startswith(f"{folder}/") and name not in tracked:
                del listing.files[name]
                found[folder] += 1
                break
    for folder, count in found.items():
        if count:
            listing.left_out[f"{folder}/"] = f"{count} files of installed packages"


def _leave_home_out(listing: Listing, folder: Path, tracked: set[str]) -> None:
    """Leave out what is not code in a home: a repository of settings does not ignore the rest."""
    below = "" if folder == listing.root else f"{folder.relative_to(listing.root).as_posix()}/"
    others = [
        name
        for name in listing.files
        if name not in tracked
        and not (
            name.startswith(below)
            and os.path.splitext(name)[1].lower() in CODE
            and not any(part.startswith(".") for part in name.split("/"))
        )
    ]
    for name in others:
        del listing.files[name]
    if others:
        listing.left_out["(the rest of the home)"] = (
            f"{counted(len(others), 'file')} that git does not track, not code below the script"
        )


def _folder_listing(folder: Path, exclude: Path) -> Listing:
    """List code in a folder and below, without hidden folders, environments and caches."""
    files: dict[str, None] = {}
    left_out: dict[str, str] = {}
    visits = 0

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        left_out[f"{name}/"] = f"cannot be listed ({error.strerror})"

    for path, folders, names in os.walk(folder, onerror=unreadable):
        visits += len(names) + len(folders)
        if visits > _VISITS:
            beside = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".py")]
            listing = Listing(folder, dict.fromkeys(sorted(beside)))
            listing.only_beside(folder)
            return listing
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in ("__pycache__", "node_modules", "site-packages")
            and Path(path, name) != exclude
            and not os.path.lexists(os.path.join(path, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in CODE and not name.startswith("."):
                files[Path(path, name).relative_to(folder).as_posix()] = None
    return Listing(folder, files, left_out)
