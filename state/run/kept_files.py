"""Keep copies of files that a script wrote, each once under the SHA-256 of its content.

``kept_files/<digest>`` in the run directory. A checkpoint's manifest names those that it needs
(``kept``: bytes by digest); what no checkpoint needs is removed. A copy shares its blocks with the
original where the file system can do that; it is never a hard link, since Keras and CSVLogger
write into the file that they find.
"""

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from rekindle.state import durable
from rekindle.state.run import digests
from rekindle.state.run.checkpoints import Checkpoint

_CHUNK: Final = 1 << 20
_FICLONE: Final = 0x40049409
_NAME: Final = re.compile(r"[0-9a-f]{64}")
_TEMPORARY: Final = ".tmp-"


def add(folder: Path, source: Path) -> tuple[str, int]:
    """Keep a copy of ``source``; return digest and bytes of its content.

    Raises:
        OSError: it cannot be read, or the copy cannot be written.
    """
    folder.mkdir(exist_ok=True)
    temporary = folder / f"{_TEMPORARY}{os.getpid()}"
    try:
        with source.open("rb", buffering=0) as file:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                digest, size = _copy(file.fileno(), fd)
                os.fsync(fd)
            finally:
                os.close(fd)
        target = folder / digest
        if target.exists():
            os.unlink(temporary)
        else:
            os.replace(temporary, target)
            durable.fsync_folder(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return digest, size


def give_back(folder: Path, digest: str, target: Path, *, mode: int, mtime_ns: int) -> bool:
    """Replace ``target`` by a kept copy in one step; False if there is no good copy.

    Raises:
        OSError: the target cannot be written.
    """
    temporary = target.with_name(f".{target.name}.rekindle-{os.getpid()}")
    try:
        source = (folder / digest).open("rb", buffering=0)
    except FileNotFoundError:
        return False
    try:
        with source:
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            try:
                if _copy(source.fileno(), fd)[0] != digest:
                    return False
                os.fchmod(fd, mode)
                os.fsync(fd)
            finally:
                os.close(fd)
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_into(folder: Path, digest: str, target: Path) -> bool:
    """Write a kept copy into a file that is open, which stays the same file.

    Returns:
        False if there is no good copy; ``target`` is unchanged then.

    Raises:
        OSError: the target cannot be written.
    """
    try:
        if digests.digest(folder / digest) != digest:
            return False
    except FileNotFoundError:
        return False
    with (folder / digest).open("rb", buffering=0) as source, target.open("r+b") as file:
        while data := source.read(_CHUNK):
            file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return True


def _copy(source: int, target: int) -> tuple[str, int]:
    """Copy one descriptor's file to another, with shared blocks if possible; digest the copy."""
    found, size = hashlib.sha256(), 0
    try:
        fcntl.ioctl(target, _FICLONE, source)
        shared = True
    except OSError:
        shared = False
    while data := os.read(target if shared else source, _CHUNK):
        found.update(data)
        size += len(data)
        view = memoryview(data)
        while view and not shared:
            view = view[os.write(target, view) :]
    return found.hexdigest(), size


def needed(found: Iterable[Checkpoint]) -> dict[str, int]:
    """Collect from their manifests what checkpoints need: bytes by digest.

    Raises:
        OSError: a manifest cannot be read.
        ValueError: a manifest is damaged.
    """
    wanted: dict[str, int] = {}
    for checkpoint in found:
        wanted |= of_manifest(checkpoint)
    return wanted


def of_manifest(checkpoint: Checkpoint) -> dict[str, int]:
    """Return what one checkpoint needs: bytes by digest.

    Raises:
        OSError, ValueError: its manifest cannot be read.
    """
    try:
        kept = checkpoint.read_manifest().get("kept", {})
    except FileNotFoundError:
        return {}  # removed meanwhile, or a checkpoint of a command
    if not isinstance(kept, dict):
        raise ValueError("its manifest has an invalid list of kept files")
    return {
        digest: size
        for digest, size in kept.items()
        if _NAME.fullmatch(digest) and isinstance(size, int)
    }


def collect(folder: Path, wanted: Iterable[str]) -> int:
    """Remove the copies that are not ``wanted``, and leftovers; return their bytes."""
    freed, wanted = 0, set(wanted)
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        if entry.name in wanted or not (
            _NAME.fullmatch(entry.name) or entry.name.startswith(_TEMPORARY)
        ):
            continue
        with contextlib.suppress(OSError):
            size = entry.stat(follow_symlinks=False).st_size
            os.unlink(entry.path)
            freed += size
    return freed


def damaged(folder: Path, found: Iterable[Checkpoint]) -> Iterator[tuple[str, str]]:
    """Find the copies that checkpoints need and that are not good: name and reason."""
    with contextlib.suppress(OSError, ValueError):
        for name in needed(found):
            try:
                if digests.digest(folder / name) != name:
                    yield name, "it does not match its digest"
            except OSError as error:
                yield name, f"it cannot be read ({error.strerror})"
