"""Take the snapshot of a job's code when the job is accepted.

The daemon takes it, not `submit`: it covers specs that were copied into the inbox, reads with the
permissions of the trainer, and belongs to the step that accepts a job exactly once. Equal trees
are stored once, under the digest of their content, and each run links to its own. A tree that has
not changed since an earlier look is neither read nor copied again; of one that has, only the
changed files are copied, and the others are hard links.

No link out of the tree is followed, even if a file is replaced by a link meanwhile.
"""

import contextlib
import functools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rekindle.daemon import errors
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source import secret_files
from rekindle.daemon.source.listing import CODE, GIT_S, Listing, list_code
from rekindle.daemon.source.store import Files, Store, digest_of, link_target
from rekindle.daemon.source.tree_reader import Content, CopyFailed, TreeReader
from rekindle.jobs.job import Job, Source
from rekindle.state.counted import counted
from rekindle.state.errors import SpecError
from rekindle.state.source_tree import TREE

_NAMED: Final = 50
_SHARED_S: Final = 60.0
"""Time for which requests that were left before a snapshot may share it."""
_KNOWN: Final = 8
"""Number of trees whose files are remembered, with some megabytes for each at most."""
_LIVE: Final = "set `live = true` in the spec, to run the current code at each attempt"


@dataclass(frozen=True, slots=True)
class Look:
    """The code of a job as it is now.

    Attributes:
        script: the script's path below the root, None if a module is run.
        contents: each file of a snapshot, in the order of names.
        differs: a file differs from git's HEAD.
    """

    listing: Listing
    script: str | None
    contents: dict[str, Content]
    differs: bool

    @property
    def files(self) -> dict[str, dict[str, int | str]]:
        """List the files as a snapshot does."""
        return {name: content.record() for name, content in self.contents.items()}


@dataclass(frozen=True, slots=True)
class _Tree:
    """Remember the last look at a tree, and the snapshot that was taken of it."""

    contents: Mapping[str, Content] = field(default_factory=dict)
    digest: str | None = None


class Snapshots:
    """The snapshots of one home; several threads may take some at a time.

    Args:
        folder: the store, with a sub-folder for each distinct tree.
        exclude: the home, which is never part of a snapshot.
    """

    def __init__(self, folder: Path, limits: SourceLimits, exclude: Path) -> None:
        self.store = Store(folder)
        self._limits = limits
        self._exclude = exclude
        self._lock = threading.Lock()
        self._recent: dict[tuple[str, str], tuple[float, Source]] = {}
        self._trees: OrderedDict[str, _Tree] = OrderedDict()

    def sweep(self) -> None:
        """Remove the leftovers of an interrupted daemon; call before the first :meth:`take`."""
        self.store.sweep()

    def forget(self) -> None:
        """Forget snapshots that specs dropped together have shared; call after each batch."""
        until = time.time() - _SHARED_S
        with self._lock:
            self._recent = {key: one for key, one in self._recent.items() if one[0] > until}

    def needed(self, job: Job) -> bool:
        """Return whether a job runs a snapshot of its code."""
        return not job.live and job.command is None

    def lane(self, job: Job) -> str:
        """Name the tree of a job, without a look at it: a slow one delays no job of another."""
        return os.path.dirname(job.script) if job.script else job.workdir

    def take(self, job: Job, dropped: float) -> Source | None:
        """Take the snapshot of a job; return None for a live job.

        Args:
            dropped: unix time at which it was asked for, such as that of the spec's arrival. A
                snapshot that was begun later contains the code of that time, so that specs
                dropped together share one.

        Raises:
            SpecError: there is too much code, or it cannot be read.
            OSError: the store cannot be written, or a resource of the host is exhausted.
        """
        if not self.needed(job):
            return None
        folder, script = _place(job)
        key = (str(folder), str(script))
        with self._lock:
            known = self._recent.get(key)
        if known is not None and dropped < known[0]:
            return known[1]
        began = time.time()
        source = self._take(folder, script)
        with self._lock:
            self._recent[key] = began, source
        return source

    def look(self, job: Job, within: float) -> Look:
        """Look at the present code of a job, without a copy.

        Args:
            within: seconds after which the look is given up.

        Raises:
            SpecError: there is too much code, or it cannot be read.
            TimeoutError: it took longer.
        """
        folder, script = _place(job)
        return self._look(folder, script, time.monotonic() + within)

    def place(self, source: Source) -> str:
        """Return the target of a run's link ``source``, relative: a home can be moved."""
        return link_target(self.store.folder, source.digest)

    def _take(self, folder: Path, script: Path | None) -> Source:
        look = self._look(folder, script)
        files: Files = look.files
        digest = digest_of(files)
        if not self.store.share(digest):
            digest, files = self._copy(look)
            self._require_script(look, files)
        self._know(look, digest)
        listing = look.listing
        names = [f"{name}: {why}" for name, why in sorted(listing.left_out.items())]
        return Source(
            root=str(listing.root),
            digest=digest,
            commit=listing.commit,
            script=look.script,
            script_sha256=str(files[look.script]["sha256"]) if look.script else None,
            dirty=(listing.dirty or look.differs) if listing.commit else None,
            untracked=listing.untracked,
            taken_at=time.time(),
            files=len(files),
            bytes=sum(int(entry["bytes"]) for entry in files.values()),
            left_out=names[:_NAMED],
            left_out_count=len(names),
            notes=listing.notes,
        )

    def _look(self, folder: Path, script: Path | None, until: float | None = None) -> Look:
        """List and digest the code, with what is known of its files."""
        within = GIT_S if until is None else min(GIT_S, until - time.monotonic())
        with _readable(folder):
            listing = list_code(folder, self._exclude, within)
        mine = None
        if script is not None:
            mine = script.relative_to(listing.root).as_posix()
            listing.files.setdefault(mine)
        _leave_secrets_out(listing, mine)
        contents: dict[str, Content] = {}
        differs = False
        known = self._tree(listing.root).contents
        with self._open(listing.root, known) as reader:
            for name in sorted(self._choose(listing, folder)):
                if until is not None and time.monotonic() > until:
                    raise TimeoutError
                like = listing.tracked.get(name)
                content = _attempt(listing, name, functools.partial(reader.look, name, like))
                if content is None:
                    continue
                if secret_files.is_private(name):
                    content = content.narrowed()
                contents[name] = content
                differs = differs or (like is not None and content.blob != like)
        look = Look(listing, mine, contents, differs)
        self._require_script(look, look.contents)
        self._know(look, None)
        return look

    def _copy(self, look: Look) -> tuple[str, Files]:
        """Copy what an earlier snapshot of the tree does not have; link the rest."""
        root = look.listing.root
        before = self._tree(root).digest
        old: Path | None = None
        had: Files = {}
        if before is not None and self.store.is_intact(before):
            with contextlib.suppress(OSError, ValueError):
                old, had = self.store.path(before) / TREE, self.store.files(before)

        def fill(tree: Path) -> Files:
            files: dict[str, dict[str, int | str]] = {}
            made = {""}
            with self._open(root, {}) as reader:
                for name, content in look.contents.items():
                    target = tree / name
                    folder = name.rpartition("/")[0]
                    if folder not in made:
                        os.makedirs(tree / folder, mode=0o700, exist_ok=True)
                        made.add(folder)
                    record = content.record()
                    if old is not None and had.get(name) == record:
                        with contextlib.suppress(OSError):
                            os.link(old / name, target, follow_symlinks=False)
                            files[name] = record
                            continue
                    copied = _attempt(
                        look.listing,
                        name,
                        functools.partial(
                            reader.copy, name, target, private=secret_files.is_private(name)
                        ),
                    )
                    if copied is not None:
                        files[name] = copied.record()
            return files

        try:
            return self.store.add(fill)
        except CopyFailed as failed:
            raise failed.error from None

    @contextlib.contextmanager
    def _open(self, root: Path, known: Mapping[str, Content]) -> Iterator[TreeReader]:
        group = os.stat(self.store.folder).st_gid
        with _readable(root):
            reader = TreeReader(root, self._limits.max_file_bytes, group, known)
        with reader:
            yield reader

    def _tree(self, root: Path) -> _Tree:
        with self._lock:
            return self._trees.get(str(root), _Tree())

    def _know(self, look: Look, digest: str | None) -> None:
        """Remember a look; files that were not listed this time are remembered no longer."""
        root = str(look.listing.root)
        with self._lock:
            before = self._trees.pop(root, _Tree())
            self._trees[root] = _Tree(look.contents, digest or before.digest)
            while len(self._trees) > _KNOWN:
                self._trees.popitem(last=False)

    def _require_script(self, look: Look, files: Mapping[str, object]) -> None:
        """Refuse a look without the script.

        Raises:
            SpecError: the script could not be read.
        """
        script = look.script
        if script is not None and script not in files:
            why = look.listing.left_out.get(script, "not a regular file")
            raise SpecError(
                f"Cannot copy the script {look.listing.root / script} into the snapshot: {why}.",
                where="script",
                hint=f"Give the daemon's user read permission on it, or {_LIVE}.",
            )

    def _choose(self, listing: "Listing", folder: Path) -> list[str]:
        """Choose all code, then the other files, smallest first, up to the limits."""
        sized: list[tuple[bool, int, str]] = []
        for name in list(listing.files):
            try:
                size = os.stat(f"{listing.root}/{name}").st_size
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
            f"The code under {root} is too large for a snapshot: {counted(len(code), 'file')} with "
            f"{sum(size for size, _ in code)} bytes, the largest: {largest}.",
            where="script",
            hint=f"List files that are not code in .gitignore, raise [source] in rekindle.toml "
            f"({self._limits.max_files} files, {self._limits.max_bytes} bytes), or {_LIVE}.",
        )


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


def _place(job: Job) -> tuple[Path, Path | None]:
    """Return folder and script of a job, without links."""
    script = Path(os.path.realpath(job.script)) if job.script else None
    return (script.parent if script else Path(os.path.realpath(job.workdir))), script


def _leave_secrets_out(listing: Listing, script: str | None) -> None:
    in_home = secret_files.is_home(listing.root)
    for name in list(listing.files):
        why = secret_files.reason(name, in_home=in_home)
        if why is not None and name != script:
            listing.leave_out(name, why)


def _attempt(listing: Listing, name: str, read: Callable[[], Content]) -> Content | None:
    """Read a file; leave one out that cannot be read."""
    try:
        return read()
    except (OSError, ValueError) as error:
        if errors.is_scarce(error):
            raise
        listing.leave_out(name, str(error.strerror if isinstance(error, OSError) else error))
        return None


def used(runs: Path) -> Iterator[str]:
    """Yield the names in the store that runs link to."""
    for run in os.scandir(runs):
        try:
            yield Path(os.readlink(os.path.join(run.path, "source"))).parts[-2]
        except (OSError, IndexError):
            continue
        with contextlib.suppress(OSError):
            yield from os.listdir(os.path.join(run.path, "earlier_code"))
