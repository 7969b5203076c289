"""Take the snapshot of a job's code when the job is accepted.

The daemon takes it, not `submit`: it covers specs that were copied into the inbox, reads with the
permissions of the trainer, and belongs to the step that accepts a job exactly once. Equal trees
are stored once, under the digest of their content, and each run links to its own.

No link out of the tree is followed, even if a file is replaced by a link meanwhile.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rekindle.daemon import errors
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source.listing import CODE, Listing, list_code
from rekindle.jobs.job import Job, Source
from rekindle.state import durable
from rekindle.state.errors import SpecError
from rekindle.state.source_tree import FILES, TREE, damage

FORMAT: Final = 1
_NAMED: Final = 50
_LIVE: Final = "set `live = true` in the spec, to run the current code at each attempt"


class Snapshots:
    """The snapshots of one home.

    Args:
        folder: the store, with a sub-folder for each distinct tree.
        exclude: the home, which is never part of a snapshot.
    """

    def __init__(self, folder: Path, limits: SourceLimits, exclude: Path) -> None:
        self._folder = folder
        self._limits = limits
        self._exclude = exclude
        self._recent: dict[tuple[str, str], tuple[float, Source]] = {}

    def sweep(self) -> None:
        """Remove the leftovers of an interrupted daemon; call before the first :meth:`take`."""
        for entry in self._folder.iterdir():
            if entry.name.startswith(".tmp-"):
                shutil.rmtree(entry, ignore_errors=True)

    def forget(self) -> None:
        """Forget recent snapshots, which specs dropped together share; call after each batch."""
        self._recent.clear()

    def needed(self, job: Job) -> bool:
        """Return whether a job runs a snapshot of its code."""
        return not job.live and job.command is None

    def take(self, job: Job, dropped: float) -> Source | None:
        """Take the snapshot of a job about to be accepted; return None for a live job.

        Args:
            dropped: unix time at which the spec came into the inbox. A snapshot that was
                begun later contains the submitted code, so that specs dropped together
                share one.

        Raises:
            SpecError: there is too much code, or it cannot be read.
            OSError: the store cannot be written, or a resource of the host is exhausted.
        """
        if not self.needed(job):
            return None
        script = Path(os.path.realpath(job.script)) if job.script else None
        folder = script.parent if script else Path(os.path.realpath(job.workdir))
        key = (str(folder), str(script))
        known = self._recent.get(key)
        if known is not None and dropped < known[0]:
            return known[1]
        began = time.time()
        source = self._take(folder, script)
        self._recent[key] = began, source
        return source

    def place(self, source: Source) -> str:
        """Return the target of a run's link ``source``, relative: a home can be moved."""
        return os.path.join("..", "..", self._folder.name, source.digest[:32], TREE)

    def _take(self, folder: Path, script: Path | None) -> Source:
        with _readable(folder):
            listing = list_code(folder, self._exclude)
        if script is not None:
            listing.files.setdefault(script.relative_to(listing.root).as_posix())
        chosen = self._choose(listing, folder)
        temporary = self._folder / f".tmp-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            files, differs = _copy(listing, chosen, temporary / TREE, self._limits.max_file_bytes)
            mine = script.relative_to(listing.root).as_posix() if script else None
            if mine is not None and mine not in files:
                raise SpecError(
                    f"Cannot copy the script {script} into the snapshot: "
                    f"{listing.left_out.get(mine, 'not a regular file')}.",
                    where="script",
                    hint=f"Give the daemon's user read permission on it, or {_LIVE}.",
                )
            record = {"format": FORMAT, "files": files}
            digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
            self._commit(temporary, self._folder / digest[:32], record, digest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        names = [f"{name}: {why}" for name, why in sorted(listing.left_out.items())]
        return Source(
            root=str(listing.root),
            digest=digest,
            commit=listing.commit,
            script=mine,
            script_sha256=str(files[mine]["sha256"]) if mine else None,
            dirty=(listing.dirty or differs) if listing.commit else None,
            untracked=listing.untracked,
            taken_at=time.time(),
            files=len(files),
            bytes=sum(int(entry["bytes"]) for entry in files.values()),
            left_out=names[:_NAMED],
            left_out_count=len(names),
        )

    def _choose(self, listing: "Listing", folder: Path) -> list[str]:
        """Choose all code, then the other files, smallest first, up to the limits."""
        sized: list[tuple[bool, int, str]] = []
        for name in list(listing.files):
            try:
                size = os.stat(listing.root / name).st_size
            except OSError as error:
                listing.leave_out(name, f"cannot be read ({error.strerror})")
                continue
            if size > self._limits.max_file_bytes:
                listing.leave_out(name, f"has {size} bytes, above the limit for one file")
                continue
            sized.append((os.path.splitext(name)[1].lower() not in CODE, size, name))
        chosen: list[str] = []
        total = 0
        for rest, size, name in sorted(sized):
            if total + size > self._limits.max_bytes or len(chosen) >= self._limits.max_files:
                if not rest:
                    if listing.commit is None and not listing.flat:
                        listing.only_beside(folder)
                        return self._choose(listing, folder)
                    raise self._too_much(listing.root, sized)
                listing.leave_out(name, "left out: the snapshot has reached its limit")
                continue
            total += size
            chosen.append(name)
        return chosen

    def _too_much(self, root: Path, sized: list[tuple[bool, int, str]]) -> SpecError:
        code = [(size, name) for rest, size, name in sized if not rest]
        largest = ", ".join(name for _, name in sorted(code, reverse=True)[:3])
        return SpecError(
            f"The code under {root} is too large for a snapshot: {len(code)} files with "
            f"{sum(size for size, _ in code)} bytes, the largest: {largest}.",
            where="script",
            hint=f"List files that are not code in .gitignore, raise [source] in rekindle.toml "
            f"({self._limits.max_files} files, {self._limits.max_bytes} bytes), or {_LIVE}.",
        )

    def _commit(self, temporary: Path, final: Path, record: dict[str, object], digest: str) -> None:
        if final.exists():
            if damage(final / TREE, digest) is None:
                # an old snapshot without a link would be pruned before the run links to it
                os.utime(final)
                return
            # the same code is at hand: replacing the damaged copy repairs it for all its jobs
            os.rename(final, final.with_name(f".tmp-damaged-{final.name}-{time.time_ns():x}"))
        durable.fsync_all(
            [
                path
                for folder, _, names in os.walk(temporary)
                for path in (*(Path(folder, name) for name in names), Path(folder))
                if not path.is_symlink()
            ]
        )
        durable.write_json(temporary / FILES, record, 0o640)
        os.rename(temporary, final)
        durable.fsync_folder(self._folder)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn an error while reading a job's code into a SpecError: other jobs must not fail."""
    try:
        yield
    except OSError as error:
        if errors.is_scarce(error):
            raise
        raise SpecError(
            f"Cannot copy the code in {folder} into the snapshot: {error.strerror}.",
            where="script",
            hint="Give the daemon's user permission to list and read the folder (chmod o+rx, or by "
            f"its group), or {_LIVE}.",
        ) from error


def _copy(
    listing: Listing, chosen: list[str], target: Path, limit: int
) -> tuple[dict[str, dict[str, int | str]], bool]:
    """Copy the chosen files; return digest, size, mode of each, and if one differs from git."""
    files: dict[str, dict[str, int | str]] = {}
    differs = False
    target.mkdir(parents=True, mode=0o750)
    with _readable(listing.root):
        root = os.open(listing.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in sorted(chosen):
            try:
                data, mode = _read(root, _inside(listing.root, name), limit)
            except (OSError, ValueError) as error:
                if errors.is_scarce(error):
                    raise
                listing.leave_out(
                    name, str(error.strerror if isinstance(error, OSError) else error)
                )
                continue
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            fd = os.open(
                copy,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                0o550 if mode & 0o100 else 0o440,
            )
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            files[name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "mode": 0o755 if mode & 0o100 else 0o644,
            }
            oid = listing.tracked.get(name)
            if oid is not None and oid != _blob(data, oid):
                differs = True
    finally:
        os.close(root)
    return files, differs


def _inside(root: Path, name: str) -> str:
    """Resolve the links of a name within ``root``.

    Raises:
        ValueError: a link leads out of ``root``.
    """
    real = os.path.realpath(root / name)
    if os.path.commonpath([real, root]) != str(root):
        raise ValueError("links to a file outside of the tree")
    return os.path.relpath(real, root)


def _read(root: int, name: str, limit: int) -> tuple[bytes, int]:
    """Read content and mode of a regular file, refusing links in each part of its path.

    Raises:
        ValueError: it is not a regular file, or has grown above the limit.
        OSError: it cannot be read.
    """
    *folders, last = name.split("/")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with contextlib.ExitStack() as opened:
        at = root
        for folder in folders:
            at = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
            opened.callback(os.close, at)
        fd = os.open(last, flags, dir_fd=at)
        opened.callback(os.close, fd)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("is not a regular file")
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError("is above the limit for one file")
        return data, info.st_mode


def _blob(data: bytes, like: str) -> str:
    """Compute git's object id of a content, with the same digest as ``like``."""
    content = b"blob %d\0" % len(data) + data
    if len(like) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def used(runs: Path) -> Iterator[str]:
    """Yield the names in the store that runs link to."""
    for run in os.scandir(runs):
        try:
            yield Path(os.readlink(os.path.join(run.path, "source"))).parts[-2]
        except (OSError, IndexError):
            continue
