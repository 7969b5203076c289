"""Read the files of a tree that its owner may change meanwhile, without leaving the tree.

Content is digested in pieces, never held as a whole. A file that has not changed since it was
digested is recognised by its metadata, as git does: a file that had been changed shortly before
it was read is read again, since a second change within the clock's resolution would not show.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_PIECE: Final = 1 << 20
_RACY_S: Final = 60.0
"""Age of a change beyond which metadata is trusted; clocks of file servers differ by seconds."""


class CopyFailed(Exception):
    """Report that a copy could not be written: no fault of the file."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Content:
    """Describe a file as it was read.

    Attributes:
        mode: 0755 or 0644 as git has it; 0700 or 0600 where the group of the store may not read
            the original.
        blob: git's object id of the content, if it was asked for.
        key: metadata under which the content is known, None if it changed while it was read.
        read_at: unix time at which it was digested.
    """

    sha256: str
    bytes: int
    mode: int
    blob: str | None
    key: tuple[int, ...] | None
    read_at: float

    def record(self) -> dict[str, int | str]:
        """Return the file's entry in the list of a snapshot."""
        return {"sha256": self.sha256, "bytes": self.bytes, "mode": self.mode}

    def narrowed(self) -> Self:
        """Return the same content for the user of the service alone."""
        return replace(self, mode=self.mode & 0o700)


class TreeReader:
    """Read files below a root; a context manager.

    Args:
        root: an absolute path without links.
        limit: bytes above which a file is refused.
        group: the group that may read the copies.
        known: content of earlier looks at this tree.

    Raises:
        OSError: the root cannot be opened.
    """

    def __init__(self, root: Path, limit: int, group: int, known: Mapping[str, Content]) -> None:
        self._root = root
        self._limit = limit
        self._group = group
        self._known = known
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._shared = all(self._may(os.stat(place), 1) for place in (root, *root.parents))
        self._folders: dict[str, tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def look(self, name: str, like: str | None = None) -> Content:
        """Return the content of a file, by its metadata if it is known.

        Args:
            like: git's object id to compare with, in the same digest.

        Raises:
            ValueError: it is not a regular file of the tree, or is above the limit.
            OSError: it cannot be read.
        """
        real, shared, info = self._locate(name)
        known = self._known.get(name)
        if known is not None and known.key is not None and (like is None or known.blob):
            changed_at = max(info.st_mtime, info.st_ctime)
            if known.key == _key(info) and changed_at < known.read_at - _RACY_S:
                return replace(known, mode=self._mode(info, shared))
        return self._read(real, shared, like, None)

    def copy(self, name: str, target: Path, *, private: bool) -> Content:
        """Copy a file, with a mode that is never wider than that of the original.

        Args:
            private: no group may read the copy, whatever the original's mode is.

        Raises:
            ValueError, OSError: as :meth:`look`.
            CopyFailed: the copy cannot be written.
        """
        real, shared, _ = self._locate(name)
        try:
            return self._read(real, shared and not private, None, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)  # a part of a file, which no list names
            raise

    def _locate(self, name: str) -> tuple[str, bool, os.stat_result]:
        """Resolve the links of a name; return its path, if its folders are open, its metadata.

        Raises:
            ValueError: a link leads out of the tree.
            OSError: it does not exist, or cannot be looked at.
        """
        folder, _, last = name.rpartition("/")
        found = self._folders.get(folder)
        if found is None:
            inside = self._inside(folder)
            found = self._folders[folder] = inside, self._is_shared(inside)
        real = os.path.join(found[0], last)
        info = os.lstat(f"{self._root}/{real}")
        if not stat.S_ISLNK(info.st_mode):
            return real, found[1], info
        real = self._inside(real)
        return real, self._is_shared(os.path.dirname(real)), os.lstat(f"{self._root}/{real}")

    def _inside(self, name: str) -> str:
        real = os.path.realpath(self._root / name)
        if os.path.commonpath([real, self._root]) != str(self._root):
            raise ValueError("links to a file outside of the tree")
        inside = os.path.relpath(real, self._root)
        return "" if inside == "." else inside

    def _is_shared(self, folder: str) -> bool:
        """Return whether the group of the store can pass all folders down to this one."""
        shared = self._shared
        at = self._root
        for part in filter(None, folder.split("/")):
            at = at / part
            try:
                shared = shared and self._may(os.stat(at), 1)
            except OSError:
                shared = False
        return shared

    def _may(self, info: os.stat_result, bit: int) -> bool:
        """Return whether others, or the group of the store, have a permission (4 read, 1 pass)."""
        of_group = info.st_gid == self._group and info.st_mode & (bit << 3)
        return bool(info.st_mode & bit or of_group)

    def _mode(self, info: os.stat_result, shared: bool) -> int:
        own, all_others = (0o700, 0o055) if info.st_mode & 0o100 else (0o600, 0o044)
        return own | (all_others if shared and self._may(info, 4) else 0)

    def _read(self, real: str, shared: bool, like: str | None, target: Path | None) -> Content:
        """Digest a file, and copy it to ``target``, refusing links in each part of its path."""
        *folders, last = real.split("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with contextlib.ExitStack() as opened:
            at = self._fd
            for folder in folders:
                at = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
                opened.callback(os.close, at)
            fd = os.open(last, flags, dir_fd=at)
            opened.callback(os.close, fd)
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise ValueError("is not a regular file")
            read_at = time.time()
            mode = self._mode(info, shared)
            out = -1
            if target is not None:
                wanted = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with _writing():
                    out = os.open(target, wanted, stored_mode(mode))
                opened.callback(os.close, out)
            digest, size, blob = self._digest(fd, info.st_size, like, out)
            same = _key(info) == _key(os.fstat(fd)) and size == info.st_size
            key = _key(info) if same else None
            return Content(digest, size, mode, blob, key, read_at)

    def _digest(
        self, fd: int, expected: int, like: str | None, out: int
    ) -> tuple[str, int, str | None]:
        digest = hashlib.sha256()
        blob: Any = None
        if like is not None:
            blob = hashlib.sha256() if len(like) == 64 else hashlib.sha1(usedforsecurity=False)
            blob.update(b"blob %d\0" % expected)
        size = 0
        while piece := os.read(fd, _PIECE):
            size += len(piece)
            if size > self._limit:
                raise ValueError("is above the limit for one file")
            digest.update(piece)
            if blob is not None:
                blob.update(piece)
            view = memoryview(piece)
            with _writing():
                while out >= 0 and view:
                    view = view[os.write(out, view) :]
        return digest.hexdigest(), size, blob.hexdigest() if blob is not None else None


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CopyFailed(error) from error


def stored_mode(mode: int) -> int:
    """Return the mode of a copy in the store, which nobody writes."""
    return (0o500 if mode & 0o100 else 0o400) | (mode & 0o050 if mode & 0o040 else 0)


def _key(info: os.stat_result) -> tuple[int, ...]:
    return (
        info.st_dev,
        info.st_ino,
        info.st_size,
        info.st_mtime_ns,
        info.st_ctime_ns,
        info.st_mode,
        info.st_uid,
        info.st_gid,
    )
