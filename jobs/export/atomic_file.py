"""Publish a finished file under its name in one step, without replacing another by mistake."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.state import durable
from rekindle.state.errors import UsageError


def publish(target: Path, write: Callable[[Path], Any], *, force: bool) -> None:
    """Let ``write`` fill a temporary file with the same suffix, fsync it, and rename it.

    Raises:
        UsageError: the file exists already, or its folder cannot be written.
    """
    work = _workplace(target)
    try:
        made = work / target.name
        write(made)
        durable.fsync_file(made)
        _name(made, target, force=force)
        durable.fsync_folder(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def publish_bundle(prefix: Path, write: Callable[[Path], Any], *, force: bool) -> None:
    """Publish a TensorFlow checkpoint: several files that share a prefix.

    The file ``checkpoint``, which ``tf.train.latest_checkpoint`` reads, is written last and
    still lists the other checkpoints.
    """
    if not force:
        _refuse_existing(prefix.with_name(f"{prefix.name}.index"))
    work = _workplace(prefix)
    try:
        write(work / prefix.name)
        # the index last: only with it the data is a checkpoint
        for made in sorted(work.iterdir(), key=lambda path: path.name.endswith(".index")):
            durable.fsync_file(made)
            _name(made, prefix.with_name(made.name), force=force)
        durable.fsync_folder(prefix.parent)
        pointer = prefix.with_name("checkpoint")
        names = [name for name in _named_in(pointer) if name != prefix.name] + [prefix.name]
        lines = [
            f"model_checkpoint_path: {_quoted(prefix.name)}",
            *(f"all_model_checkpoint_paths: {_quoted(name)}" for name in names),
        ]
        durable.write_bytes(pointer, "\n".join([*lines, ""]).encode())
    except OSError as error:
        raise _unwritable(prefix, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _workplace(target: Path) -> Path:
    """Create a folder beside the target, so that a rename stays on one file system."""
    work = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as error:
        raise _unwritable(target, error) from error
    return work


def _name(made: Path, target: Path, *, force: bool) -> None:
    if force:
        os.replace(made, target)
        return
    try:
        durable.name_new(made, target)
    except FileExistsError:
        _refuse_existing(target)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise UsageError(
            "The file exists already.",
            where=target,
            hint="Choose another name, or replace it with --force.",
        )


def _unwritable(target: Path, error: OSError) -> UsageError:
    return UsageError(
        f"The file cannot be written: {error.strerror or error}.",
        where=target,
        hint="Choose a folder with free space that this user may write to.",
    )


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _named_in(pointer: Path) -> list[str]:
    """Read the names that a `checkpoint` file lists, in order."""
    try:
        lines = pointer.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    marked = [line.partition(":") for line in lines]
    return [
        value.strip().strip('"')
        for key, _, value in marked
        if key.strip() == "all_model_checkpoint_paths"
    ]
