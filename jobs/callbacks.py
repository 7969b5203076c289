"""The state of callbacks, out and in.

A callback that has ``state_dict`` and ``load_state_dict`` speaks for itself. Of all others
the attributes that are plain data are kept. Keras resets some of them in
``on_train_begin``, so their state is put back after it.
"""

import os
from pathlib import Path
from typing import Any, Final

import keras

from rekindle.jobs.encoding import NotPlain, Tensors, decode, encode
from rekindle.state.errors import StateMismatch

# made anew by Keras at the first epoch end; making it flips the sign of `min_delta`, so that
# restoring either of the two alone would be wrong
_MONITOR: Final = {"monitor_op", "min_delta"}
_NEVER: Final = {"model", "_model", "params"}
_CSV: Final = {"writer", "csv_file", "append", "append_header"}
# not state but machinery: silently left out
_MACHINERY: Final = (type(os), type(len), type(lambda: None), type)


def capture(callbacks: list[Any], tensors: Tensors) -> tuple[list[Any], list[str]]:
    """State of each callback, and in words what of it cannot be kept."""
    states, left_out = [], []
    for index, callback in enumerate(callbacks):
        prefix = f"callbacks/{index:02d}"
        name = type(callback).__name__
        if _speaks(callback):
            try:
                state = {"own": encode(callback.state_dict(), tensors, prefix)}
            except NotPlain as error:
                left_out.append(f"the state_dict of the callback {name} holds {error}")
                state = {}
        else:
            state = {"attributes": _attributes(callback, name, tensors, prefix, left_out)}
        if isinstance(callback, keras.callbacks.CSVLogger):
            state["size"] = _flushed_size(callback)
        if isinstance(callback, keras.callbacks.TensorBoard):
            state["files"] = _event_files(callback, flush=True)
        states.append([name, state])
    return states, left_out


def restore(callbacks: list[Any], states: list[Any], tensors: Tensors) -> None:
    """Puts the state back; call after ``on_train_begin``, and again within an epoch."""
    for callback, (_, state) in zip(callbacks, states, strict=True):
        if "own" in state:
            callback.load_state_dict(decode(state["own"], tensors))
            continue
        for name, value in state.get("attributes", {}).items():
            existing = callback.__dict__.get(name)
            decoded = decode(value, tensors, existing)
            if decoded is not existing:
                callback.__dict__[name] = decoded


def prepare(callbacks: list[Any], states: list[Any]) -> None:
    """Cuts files back to where they were; call before ``on_train_begin`` opens them."""
    for callback, (_, state) in zip(callbacks, states, strict=True):
        if isinstance(callback, keras.callbacks.CSVLogger) and state.get("size") is not None:
            # append=False would empty the file, with all rows of earlier attempts
            callback.append = True
            _cut(Path(callback.filename), state["size"])
        if isinstance(callback, keras.callbacks.TensorBoard) and "files" in state:
            known = state["files"]
            for file in _event_files(callback, flush=False):
                if file in known:
                    _cut(Path(file), known[file])
                else:
                    # written after this checkpoint: its events come again
                    name = os.path.basename(file).replace("tfevents", "lost")
                    os.replace(file, Path(file).with_name(name))


def check(callbacks: list[Any], states: list[Any]) -> None:
    """
    Raises:
        StateMismatch: the list of callbacks is another than in the checkpoint.
    """
    now = [type(callback).__name__ for callback in callbacks]
    then = [name for name, _ in states]
    if now != then:
        raise StateMismatch(
            f"The callbacks were {', '.join(then)} and are {', '.join(now)}.",
            hint="Use the same callbacks in the same order in every attempt, or accept the "
            "change with `rekindle retry JOB --allow-change`: their state then starts anew.")


def _speaks(callback: Any) -> bool:
    return all(callable(getattr(callback, name, None))
               for name in ("state_dict", "load_state_dict"))


def _attributes(callback: Any, owner: str, tensors: Tensors, prefix: str, left_out: list[str]
                ) -> dict[str, Any]:
    skipped = set(_NEVER)
    if hasattr(callback, "monitor_op"):
        skipped |= _MONITOR
    if isinstance(callback, keras.callbacks.CSVLogger):
        skipped |= _CSV
    kept = {}
    own = not type(callback).__module__.startswith("keras.")
    for name, value in vars(callback).items():
        if name in skipped or isinstance(value, _MACHINERY):
            continue
        try:
            kept[name] = encode(value, tensors, f"{prefix}/{name}")
        except NotPlain as error:
            for key in [key for key in tensors if key.startswith(f"{prefix}/{name}/")]:
                del tensors[key]
            if own and not isinstance(value, keras.Model | keras.layers.Layer):
                left_out.append(f"the attribute {name} of the callback {owner} ({error}); give "
                                "the callback state_dict() and load_state_dict()")
    return kept


def _flushed_size(callback: Any) -> int | None:
    """Bytes of a CSVLogger's file that are on disk for certain."""
    file = callback.csv_file
    if file is not None and not file.closed:
        file.flush()
        os.fsync(file.fileno())
    try:
        return os.stat(callback.filename).st_size
    except OSError:
        return None


def _event_files(callback: Any, *, flush: bool) -> dict[str, int]:
    """Sizes of TensorBoard's event files by path."""
    if flush:
        for writer in callback._writers.values():
            writer.flush()
    found = {}
    for folder, _, files in os.walk(callback.log_dir):
        for name in files:
            if ".tfevents." in name or name.startswith("events.out.tfevents"):
                path = os.path.join(folder, name)
                found[path] = os.stat(path).st_size
    return found


def _cut(file: Path, size: int) -> None:
    try:
        if file.stat().st_size > size:
            with file.open("r+b") as stream:
                stream.truncate(size)
                os.fsync(stream.fileno())
    except FileNotFoundError:
        pass
