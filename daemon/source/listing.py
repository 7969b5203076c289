"""Which files are a job's code.

In a git repository the tracked ones and those that are neither tracked nor ignored; elsewhere
the code in the script's folder and below. Nothing of the repository is run: no hooks, no
filters, no monitor.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
"""Endings of what is read by programs; such files are kept before all others."""
_VISITS: Final = 20_000
_GIT_S: Final = 30.0
_NESTING: Final = 5


@dataclass(slots=True)
class Listing:
    """What belongs to a snapshot; paths are relative to ``root``, with ``/``.

    Attributes:
        files: an ordered set of names.
        tracked: git's object id of each file in HEAD.
        flat: only what lies beside the script is listed.
    """

    root: Path
    files: dict[str, None]
    left_out: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    tracked: dict[str, str] = field(default_factory=dict)
    dirty: bool | None = None
    untracked: int = 0
    flat: bool = False

    def leave_out(self, name: str, why: str) -> None:
        self.files.pop(name, None)
        self.left_out[name] = why

    def only_beside(self, folder: Path) -> None:
        prefix = "" if folder == self.root else f"{folder.relative_to(self.root).as_posix()}/"
        self.flat = True
        self.left_out.clear()
        self.left_out["(folders below)"] = "hold too much to be searched for code"
        self.files = {
            name: None
            for name in self.files
            if name.startswith(prefix) and "/" not in name[len(prefix) :] and name.endswith(".py")
        }


def of(folder: Path, exclude: Path) -> Listing:
    """What belongs to the code in ``folder``, absolute and without links.

    Args:
        exclude: a folder of which nothing is listed.
    """
    repository = _repository(folder)
    listing = _git_listing(repository, exclude) if repository else None
    return listing or _folder_listing(folder, exclude)


def _repository(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if os.path.lexists(place / ".git"):
            return place
    return None


def _git_listing(root: Path, exclude: Path) -> Listing | None:
    """What git knows of a repository; None where git is missing or cannot read it."""
    listing = Listing(root, {})
    if not _add_repository(listing, "", exclude, 0):
        return None
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return listing
    listing.commit = commit.decode().strip()
    for line in (_git(root, "ls-tree", "-r", "-z", "HEAD") or b"").split(b"\0"):
        about, _, name = line.partition(b"\t")
        parts = about.split()
        if len(parts) == 3 and parts[0] in (b"100644", b"100755"):
            listing.tracked[os.fsdecode(name)] = parts[2].decode()
    listing.untracked = sum(name not in listing.tracked for name in listing.files)
    listing.dirty = any(name not in listing.files for name in listing.tracked)
    return listing


def _add_repository(listing: Listing, prefix: str, exclude: Path, depth: int) -> bool:
    place = listing.root / prefix
    names = _git(
        place, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"
    )
    if names is None:
        return False
    for raw in names.split(b"\0"):
        name = os.fsdecode(raw).rstrip("/")
        path = place / name
        if not name or path == exclude or exclude in path.parents or not os.path.lexists(path):
            continue
        if os.path.isdir(path) and not path.is_symlink():
            # a submodule, or another repository inside of this one
            if depth < _NESTING and os.path.lexists(path / ".git"):
                _add_repository(listing, f"{prefix}{name}/", exclude, depth + 1)
            continue
        listing.files[prefix + name] = None
    return True


def _git(folder: Path, *words: str) -> bytes | None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
    # a repository may belong to somebody else than the daemon's user, and what its
    # configuration wants to be run at a look is not
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-C",
        str(folder),
        *words,
    ]
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _folder_listing(folder: Path, exclude: Path) -> Listing:
    """Code in a folder and below; without hidden folders, environments and caches."""
    listing = Listing(folder, {})
    visits = 0

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        listing.left_out[f"{name}/"] = f"cannot be listed ({error.strerror})"

    for path, folders, names in os.walk(folder, onerror=unreadable):
        visits += len(names) + len(folders)
        if visits > _VISITS:
            beside = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".py")]
            listing.files = dict.fromkeys(sorted(beside))
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
                listing.files[Path(path, name).relative_to(folder).as_posix()] = None
    return listing
