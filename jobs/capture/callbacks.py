"""The state of callbacks, out and in.

A callback that has ``state_dict`` and ``load_state_dict`` speaks for itself. Of all others
the attributes that are plain data are kept. Keras resets some of them in
``on_train_begin``, so their state is put back after it.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import keras

from rekindle.jobs.capture import large_arrays, tensorboard_files
from rekindle.jobs.capture.codec import NotPlain, Tensors, decode, encode
from rekindle.jobs.capture.large_arrays import Constants
from rekindle.jobs.capture.tensorboard_files import Author
from rekindle.state.errors import StateMismatch

# made anew by Keras at the first epoch end; making it flips the sign of `min_delta`, so that
# restoring either of the two alone would be wrong
_MONITOR: Final = {"monitor_op", "min_delta"}
_NEVER: Final = {"model", "_model", "params"}
_CSV: Final = {"writer", "csv_file", "append", "append_header"}
# the rest of it is writers, and times of the clock
_TENSORBOARD: Final = {
    "_global_train_batch",
    "_global_test_batch",
    "_previous_epoch_iterations",
    "_should_write_train_graph",
}
# not state but machinery: silently left out
_DESCRIPTORS: Final = (property, classmethod, staticmethod)
_MACHINERY: Final = (type(os), type(len), type(lambda: None), type)


def capture(
    callbacks: list[Any],
    tensors: Tensors,
    began: dict[str, dict[str, str]],
    trainers: list[Author],
    held: Constants,
) -> tuple[list[Any], list[str]]:
    """State of each callback, and in words what of it cannot be kept.

    Args:
        began: attributes of the callbacks' classes as the script made them, by class name.
        trainers: of this run up to now, whose event files are noted.
        held: large arrays as the script made them; the same ones are not saved.
    """
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
            same = {
                key: constant.digest
                for (at, key), constant in held.items()
                if at == index and large_arrays.digest(vars(callback).get(key)) == constant.digest
            }
            state = {"attributes": _attributes(callback, name, tensors, prefix, left_out, same)}
            if same:
                state["constants"] = same
            changed = {
                key: text
                for key, text in class_attributes(callback).items()
                if began.get(name, {}).get(key) != text
            }
            if changed:
                state["class"] = changed
        if isinstance(callback, keras.callbacks.CSVLogger):
            state["size"] = _flushed_size(callback)
        if isinstance(callback, keras.callbacks.TensorBoard):
            for writer in callback._writers.values():
                writer.flush()
            state["files"] = tensorboard_files.sizes(callback.log_dir, trainers)
        states.append([name, state])
    return states, left_out


def restore(
    callbacks: list[Any], states: list[Any], tensors: Tensors, held: Constants
) -> list[str]:
    """Puts the state back; call after ``on_train_begin``, and again within an epoch.

    Args:
        held: large arrays as the script made them in this attempt.

    Returns:
        In words, what could not be put back.
    """
    lost = []
    for index, (callback, (kind, state)) in enumerate(zip(callbacks, states, strict=True)):
        if "own" in state:
            callback.load_state_dict(decode(state["own"], tensors))
            continue
        for key, text in state.get("class", {}).items():
            owner, _, name = key.partition(".")
            for base in type(callback).__mro__:
                if base.__name__ == owner:
                    setattr(base, name, decode(json.loads(text), tensors))
        for name, value in state.get("attributes", {}).items():
            existing = callback.__dict__.get(name)
            decoded = decode(value, tensors, existing)
            if decoded is not existing:
                callback.__dict__[name] = decoded
        for name, digest in state.get("constants", {}).items():
            constant = held.get((index, name))
            if constant is None or constant.digest != digest or not constant.is_unchanged():
                lost.append(
                    f"the array {name} of the callback {kind} is another one than before; "
                    "let the script make the same in every attempt"
                )
            else:
                callback.__dict__[name] = constant.value
    return lost


def prepare(callbacks: list[Any], states: list[Any], trainers: list[Author]) -> None:
    """Cuts files back to where they were; call before ``on_train_begin`` opens them.

    Args:
        trainers: of the attempts before this one, whose event files are cut back.
    """
    for callback, (_, state) in zip(callbacks, states, strict=True):
        if isinstance(callback, keras.callbacks.CSVLogger) and state.get("size") is not None:
            # append=False would empty the file, with all rows of earlier attempts
            callback.append = True
            tensorboard_files.cut(Path(callback.filename), state["size"])
        if isinstance(callback, keras.callbacks.TensorBoard) and "files" in state:
            tensorboard_files.cut_back(callback.log_dir, state["files"], trainers)


def check(callbacks: list[Any], states: list[Any]) -> None:
    """
    Raises:
        StateMismatch: the list of callbacks is another than in the checkpoint.
    """
    found = difference(callbacks, states)
    if found is not None:
        raise StateMismatch(
            f"The script has changed since the checkpoint was made: {found}.",
            hint="Use the same callbacks in the same order in every attempt, or accept the "
            "change with `rekindle retry JOB --allow-change`: their state then starts anew.",
        )


def variables_of(callbacks: list[Any]) -> list[Any]:
    """TensorFlow variables that are attributes of callbacks, and so in a checkpoint."""
    found = (
        getattr(value, "_value", value)
        for callback in callbacks
        for value in vars(callback).values()
    )
    return [value for value in found if hasattr(value, "assign") and hasattr(value, "handle")]


def class_attributes(callback: Any) -> dict[str, str]:
    """Plain data that the classes of a user's callback hold, as JSON, by ``Class.name``.

    A counter may live there, too. Arrays are left out: a class that holds one holds a
    constant.
    """
    found = {}
    for base in type(callback).__mro__:
        if base.__module__.startswith("keras.") or base is object:
            continue
        for name, value in vars(base).items():
            if name.startswith("__") or callable(value) or isinstance(value, _DESCRIPTORS):
                continue
            tensors: Tensors = {}
            try:
                text = json.dumps(encode(value, tensors, "class"))
            except NotPlain:
                continue
            if not tensors:
                found[f"{base.__name__}.{name}"] = text
    return found


def difference(callbacks: list[Any], states: list[Any]) -> str | None:
    """In words, how the list of callbacks is another than in the checkpoint."""
    now = [type(callback).__name__ for callback in callbacks]
    then = [name for name, _ in states]
    if now == then:
        return None
    return f"the callbacks were {', '.join(then)} and are {', '.join(now)}"


def _speaks(callback: Any) -> bool:
    return all(
        callable(getattr(callback, name, None)) for name in ("state_dict", "load_state_dict")
    )


def _attributes(
    callback: Any,
    owner: str,
    tensors: Tensors,
    prefix: str,
    left_out: list[str],
    same: Iterable[str],
) -> dict[str, Any]:
    skipped = {*_NEVER, *same}
    if hasattr(callback, "monitor_op"):
        skipped |= _MONITOR
    if isinstance(callback, keras.callbacks.CSVLogger):
        skipped |= _CSV
    kept = {}
    own = not type(callback).__module__.startswith("keras.")
    for name, value in vars(callback).items():
        if name in skipped or isinstance(value, _MACHINERY):
            continue
        if isinstance(callback, keras.callbacks.TensorBoard) and name not in _TENSORBOARD:
            continue
        try:
            kept[name] = encode(value, tensors, f"{prefix}/{name}")
        except NotPlain as error:
            for key in [key for key in tensors if key.startswith(f"{prefix}/{name}/")]:
                del tensors[key]
            if own and not isinstance(value, keras.Model | keras.layers.Layer):
                left_out.append(
                    f"the attribute {name} of the callback {owner} ({error}); give "
                    "the callback state_dict() and load_state_dict()"
                )
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
