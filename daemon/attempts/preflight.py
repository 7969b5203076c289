"""Check before a start for space on the disk, and for memory that an attempt ran out of."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from rekindle.jobs import memory
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints

LEAST_BYTES: Final = 64 * 2**20
LEAST_FILES: Final = 256
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROBE_BYTES: Final = 128 * 1024
"""Space that opening a ledger needs."""


def lacking(run: Run, wanted_memory: int | None) -> str | None:
    """Describe in a sentence why an attempt should not start now; None if nothing is lacking.

    Args:
        wanted_memory: bytes to wait for, if the last attempt ran out of memory; else None.
    """
    short = disk(run.root, more=2 * _newest(run))
    if short is not None:
        return short
    free = memory.available() if wanted_memory is not None else None
    if free is not None and wanted_memory is not None and free < wanted_memory:
        return (
            f"It waits for memory: {_mib(free)} MiB are free, and it may use "
            f"{_mib(wanted_memory)} MiB."
        )
    return None


def more_than_the_host_has(wanted_memory: int) -> str | None:
    """Say that so much memory can never be free; None if it can."""
    has = memory.total()
    if has is None or wanted_memory <= has:
        return None
    return (
        f"It ran out of memory and may use {_mib(wanted_memory)} MiB, and this host has only "
        f"{_mib(has)} MiB: waiting would not end."
    )


def disk(folder: Path, *, more: int = 0) -> str | None:
    """Describe what the disk of ``folder`` lacks; ``more`` bytes beyond the minimum are needed.

    Raises:
        OSError: the folder does not exist.
    """
    info = os.statvfs(folder)
    free = info.f_bavail * info.f_frsize
    if free < LEAST_BYTES + more:
        return (
            f"It waits for space on the disk: {_mib(free)} MiB are free of the "
            f"{_mib(LEAST_BYTES + more)} MiB that a start needs."
        )
    # btrfs and similar file systems report no number of files
    if info.f_files and info.f_favail < LEAST_FILES:
        return f"It waits for space on the disk: only {info.f_favail} more files can be created."
    return None


def is_full(folder: Path) -> bool:
    """Return whether not even a small file can be written in ``folder``.

    The check writes one, since `statvfs` does not show a quota.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as error:
        return error.errno in _FULL
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return False


def means_full(error: BaseException | None) -> bool:
    """Return whether an error means that the disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def _newest(run: Run) -> int:
    """Return the bytes of the newest checkpoint: the next one will need as many."""
    for checkpoint in checkpoints.scan(run.checkpoints)[:1]:
        try:
            return checkpoint.bytes
        except OSError:
            return 0
    return 0


def _mib(value: int) -> int:
    return value // 2**20
