"""List the files that are a job's code.

In a git repository: the tracked files and those that are neither tracked nor ignored. Elsewhere:
the code in the script's folder and below. Nothing of the repository is run: no hook, filter or
monitor.
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
"""Endings of files that programs read; they enter the snapshot before all others."""
_VISITS: Final = 20_000
_GIT_S: Final = 30.0
_NESTING: Final = 5


@dataclass(slots=True)
class Listing:
    """The files of a snapshot; paths are relative to ``root``, with ``/``.

    Attributes:
        files: an ordered set of names.
        tracked: git's object id of each file in HEAD.
        flat: only the files beside the script are listed.
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


def list_code(folder: Path, exclude: Path) -> Listing:
    """List the code in ``folder``, an absolute path without links.

    Args:
        exclude: a folder that is never listed.
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
    """List the files of a repository; None if git is missing or cannot read it."""
    names = _repository_files(root, "", exclude, 0)
    if names is None:
        return None
    files = dict.fromkeys(names)
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return Listing(root, files)
    tracked = {}
    for line in (_git(root, "ls-tree", "-r", "-z", "HEAD") or b"").split(b"\0"):
        about, _, name = line.partition(b"\t")
        parts = about.split()
        if len(parts) == 3 and parts[0] in (b"100644", b"100755"):
            tracked[os.fsdecode(name)] = parts[2].decode()
    return Listing(
        root,
        files,
        commit=commit.decode().strip(),
        tracked=tracked,
        untracked=sum(name not in tracked for name in files),
        dirty=any(name not in files for name in tracked),
    )


def _repository_files(root: Path, prefix: str, exclude: Path, depth: int) -> list[str] | None:
    """List the files that git knows below ``prefix``, including nested repositories."""
    place = root / prefix
    names = _git(
        place, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"
    )
    if names is None:
        return None
    found = []
    for raw in names.split(b"\0"):
        name = os.fsdecode(raw).rstrip("/")
        path = place / name
        if not name or path == exclude or exclude in path.parents or not os.path.lexists(path):
            continue
        if os.path.isdir(path) and not path.is_symlink():
            # a submodule, or another repository inside of this one
            if depth < _NESTING and os.path.lexists(path / ".git"):
                found += _repository_files(root, f"{prefix}{name}/", exclude, depth + 1) or []
            continue
        found.append(prefix + name)
    return found


def _git(folder: Path, *words: str) -> bytes | None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
    # git refuses repositories of other users, and runs hooks and monitors that their
    # configuration names: as the daemon's user
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
