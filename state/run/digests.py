"""Digest files with SHA-256, the large ones chunk by chunk in threads.

It needs only the standard library, and ``sha256sum`` can check it. A large file that is in
memory is written past the page cache: copying into the cache takes more processor time than
digest and disk together.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rekindle.state import durable

if TYPE_CHECKING:
    from threading import Event

CHUNK: Final = 16 << 20
"""Bytes of a chunk of a file; a larger file is digested chunk by chunk, in threads."""
_BUFFER: Final = 1 << 20


def describe(
    path: Path, *, chunks: bool | None = None, ended: "Event | None" = None
) -> dict[str, Any]:
    """Return size and digest of a file, as a manifest has them.

    Args:
        chunks: digest it chunk by chunk; None to do so where it is larger than one.
        ended: once it is set, the digest is wanted no longer, and is that of nothing.
    """
    size = path.stat().st_size
    if chunks if chunks is not None else size > CHUNK:
        return {"bytes": size, "chunks": digest_of_chunks(path, ended)}
    return {"bytes": size, "sha256": digest(path, ended)}


def flush_and_describe(path: Path) -> dict[str, Any]:
    """Make a file durable, and describe it while the disk works."""
    if path.stat().st_size <= CHUNK:
        durable.fsync_file(path)
        return describe(path)
    from concurrent import futures  # not at the top: a start need not load it

    with futures.ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(durable.fsync_file, path)
        found = describe(path)
        flushed.result()
    return found


def digest(path: Path, ended: "Event | None" = None) -> str:
    """Compute the SHA-256 of a file, in hex.

    Args:
        ended: as for :func:`describe`.
    """
    found = hashlib.sha256()
    # not hashlib.file_digest: a job's Python may be 3.10
    buffer = memoryview(bytearray(_BUFFER))
    with path.open("rb", buffering=0) as file:
        while (ended is None or not ended.is_set()) and (size := file.readinto(buffer)):
            found.update(buffer[:size])
    return found.hexdigest()


def digest_of_chunks(path: Path, ended: "Event | None" = None) -> str:
    """Compute the SHA-256 of a list of the SHA-256 of each chunk of 16 MiB of a file, in hex.

    The list is the output of ``sha256sum``, so that a shell computes the same:
    ``split -b 16M --filter=sha256sum FILE | sha256sum``.

    Args:
        ended: as for :func:`describe`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:

        def one(start: int) -> str:
            found = hashlib.sha256()
            if ended is not None and ended.is_set():
                return ""
            for at in range(start, start + CHUNK, _BUFFER):
                found.update(os.pread(fd, _BUFFER, at))  # it is short or empty at the end
            return found.hexdigest()

        return _digest_by_chunks(one, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def write(path: Path, parts: Sequence[memoryview], size: int) -> dict[str, Any]:
    """Write a new file from memory, durably, and describe it.

    Args:
        parts: memory that begins at a page, in order; each part but the last one has whole
            pages, and the last one is backed by memory up to the end of its page.
        size: bytes of the file; the last part may be longer.

    Raises:
        OSError: the file cannot be written.
    """
    if size <= CHUNK:
        return _write_small(path, parts, size)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        _use_cache(fd, on=False)

        def one(start: int) -> str:
            found = hashlib.sha256()
            for block in _cut(parts, start, min(start + CHUNK, size)):
                found.update(block)
            # whole pages, as the disk needs them; the file is cut to its size below
            _write_all(fd, _cut(parts, start, start + CHUNK), start)
            return found.hexdigest()

        digest_ = _digest_by_chunks(one, size)
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
    return {"bytes": size, "chunks": digest_}


def _digest_by_chunks(one: Callable[[int], str], size: int) -> str:
    """Call a function for the start of each chunk, in threads; digest the list of its results."""
    from concurrent import futures

    with futures.ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), 4)) as pool:
        lines = [f"{found}  -\n" for found in pool.map(one, range(0, size, CHUNK))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_small(path: Path, parts: Sequence[memoryview], size: int) -> dict[str, Any]:
    found = hashlib.sha256()
    with path.open("xb") as file:
        for block in _cut(parts, 0, size):
            file.write(block)
            found.update(block)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": found.hexdigest()}


def _cut(parts: Sequence[memoryview], start: int, stop: int) -> list[memoryview]:
    """Return what the bytes from start to stop are in each part."""
    found, at = [], 0
    for part in parts:
        block = part[max(start - at, 0) : max(stop - at, 0)]
        if block:
            found.append(block)
        at += len(part)
    return found


def _write_all(fd: int, blocks: Sequence[memoryview], at: int) -> None:
    cached = False
    for block in blocks:
        done = 0
        while done < len(block):
            try:
                done += os.pwrite(fd, block[done:], at + done)
            except OSError as error:
                if cached or error.errno != errno.EINVAL:
                    raise
                # the file system, or its disk, cannot do without the cache
                _use_cache(fd, on=True)
                cached = True
        at += len(block)


def _use_cache(fd: int, *, on: bool) -> None:
    """Turn the page cache on or off for a file, where its file system can do without."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_DIRECT if on else flags | os.O_DIRECT)
