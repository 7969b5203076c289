"""Putting a finished file under its name in one step, never over another one by mistake."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.state import durable
from rekindle.state.errors import UsageError


def publish(target: Path, write: Callable[[Path], Any], *, force: bool) -> None:
    """Has ``write`` fill a temporary file with the same ending, fsyncs it, and names it.

    Raises:
        UsageError: the file is there already, or its folder cannot be written.
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
    """The same for a TensorFlow checkpoint: several files that share a prefix.

    The file ``checkpoint``, by which ``tf.train.latest_checkpoint`` finds it, comes last, and
    keeps the others that it names.
    """
    if not force:
        _refuse_existing(prefix.with_name(f"{prefix.name}.index"))
    work = _workplace(prefix)
    try:
        write(work / prefix.name)
        # the index is what makes the data a checkpoint
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
    """A folder beside the target, so that a rename stays on one file system."""
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
            "The file is there already.",
            where=target,
            hint="Choose another name, or replace it with --force.",
        )


def _unwritable(target: Path, error: OSError) -> UsageError:
    return UsageError(
        f"It cannot be written: {error.strerror or error}.",
        where=target,
        hint="Choose a place with room that this user may write to.",
    )


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _named_in(pointer: Path) -> list[str]:
    """What a `checkpoint` file lists, in order."""
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
