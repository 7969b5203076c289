"""Capture and restore the state of callbacks.

A callback with ``state_dict`` and ``load_state_dict`` is saved by these. The attributes of all
others are Python state (:mod:`rekindle.jobs.python_state`); here are the files that callbacks
write, and the attributes in checkpoints of earlier versions. All is restored after
``on_train_begin``, in which Keras resets some of it.
"""

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rekindle.jobs.capture import large_arrays, tensorboard_files
from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode
from rekindle.jobs.capture.component import Caveat, ComponentBase, Json
from rekindle.jobs.capture.tensorboard_files import Author
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras
from rekindle.state import durable
from rekindle.state.run.training_state import TrainingState


class CallbackStates(ComponentBase):
    """Capture and restore the callbacks of a ``fit``; a component of its stage.

    Args:
        callbacks: a flat list in the order of the script; attributes as the script set them.
        earlier: returns the trainers of earlier attempts, whose TensorBoard files may be truncated.
    """

    def __init__(self, callbacks: list[Any], earlier: Callable[[], list[Author]]) -> None:
        self.callbacks = callbacks
        boards = any(isinstance(c, keras.callbacks.TensorBoard) for c in callbacks)
        self._earlier = earlier() if boards else []
        self._constants: large_arrays.Constants = {}
        self._found: dict[Caveat, None] = {}

    def prepare(self, saved: TrainingState, put_back: Collection[str] = ()) -> None:
        """Truncate files to their size at the checkpoint; call before ``on_train_begin``.

        Args:
            put_back: absolute paths of files that are as of the checkpoint already.
        """
        if self.difference(saved) is not None:
            return
        if any("constants" in state for _, state in saved["callbacks"]):
            self._constants = large_arrays.of(self.callbacks)
        for callback, (_, state) in zip(self.callbacks, saved["callbacks"], strict=True):
            if isinstance(callback, keras.callbacks.CSVLogger) and state.get("size") is not None:
                # append=False would delete all rows of earlier attempts
                vars(callback)["append"] = True
                if os.path.abspath(callback.filename) not in put_back:
                    tensorboard_files.cut(Path(callback.filename), state["size"])
            if isinstance(callback, keras.callbacks.TensorBoard) and "files" in state:
                tensorboard_files.cut_back(callback.log_dir, state["files"], self._earlier)

    def begin(self) -> None:
        """Create the files of CSVLoggers after ``on_train_begin``.

        Those of legacy Keras are emptied by the first row: until then they have earlier content.
        """
        for callback in self.callbacks:
            file = callback.csv_file if isinstance(callback, keras.callbacks.CSVLogger) else None
            if file is not None and not hasattr(file, "closed"):
                file.write("")
                file.flush()

    def variables(self) -> list[Any]:
        """List TensorFlow variables that are attributes of callbacks, hence in the checkpoint."""
        found = (
            getattr(value, "_value", value)
            for callback in self.callbacks
            for value in vars(callback).values()
        )
        return [value for value in found if hasattr(value, "assign") and hasattr(value, "handle")]

    def capture(self, arrays: Tensors) -> TrainingState:
        return {
            "callbacks": [
                [type(callback).__name__, self._state(index, callback, arrays)]
                for index, callback in enumerate(self.callbacks)
            ]
        }

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Restore callbacks; call after ``on_train_begin``, and once more within an epoch."""
        if self.difference(saved) is not None:
            return  # an allowed change: their state starts over
        for index, (callback, (kind, state)) in enumerate(
            zip(self.callbacks, saved["callbacks"], strict=True)
        ):
            if "own" in state:
                callback.load_state_dict(decode(state["own"], arrays))
            else:
                self._restore_attributes(index, callback, kind, state, arrays)
            if isinstance(callback, keras.callbacks.TensorBoard):
                internals.renew_summary_step(callback)

    def difference(self, saved: TrainingState) -> str | None:
        now = [type(callback).__name__ for callback in self.callbacks]
        then = [name for name, _ in saved["callbacks"]]
        if now == then:
            return None
        return f"the callbacks were {', '.join(then)} and are {', '.join(now)}"

    def caveats(self) -> list[Caveat]:
        return list(self._found)

    def receipt(self, saved: TrainingState) -> list[str]:
        names = [name for name, _ in saved["callbacks"]]
        return [f"callbacks: {', '.join(names)}"]

    def cut_back(self) -> list[str]:
        return [c.filename for c in self.callbacks if isinstance(c, keras.callbacks.CSVLogger)]

    def _state(self, index: int, callback: Any, arrays: Tensors) -> Json:
        prefix = f"callbacks/{index:02d}"
        name = type(callback).__name__
        state: Json = {}
        if _has_own_state(callback):
            try:
                state = {"own": encode(callback.state_dict(), arrays, prefix)}
            except Unsupported as error:
                self._add(
                    f"The state_dict of the callback {name} holds {error}, which is not saved",
                    "return plain data and arrays from it",
                )
        if isinstance(callback, keras.callbacks.CSVLogger):
            state["size"] = _flushed_size(callback)
        if isinstance(callback, keras.callbacks.TensorBoard):
            for writer in callback._writers.values():
                writer.flush()
            trainers = [*self._earlier, tensorboard_files.this_process()]
            state["files"] = tensorboard_files.sizes(callback.log_dir, trainers)
        return state

    def _restore_attributes(
        self, index: int, callback: Any, kind: str, state: Json, arrays: Tensors
    ) -> None:
        """Restore attributes from a checkpoint of an earlier version."""
        for key, text in state.get("class", {}).items():
            owner, _, name = key.partition(".")
            for base in type(callback).__mro__:
                # only plain data: a checkpoint must not replace a method
                plain = base.__name__ == owner and name in vars(base)
                if plain and not hasattr(vars(base)[name], "__get__"):
                    setattr(base, name, decode(json.loads(text), arrays))
        for name, value in state.get("attributes", {}).items():
            existing = callback.__dict__.get(name)
            try:
                decoded = decode(value, arrays, existing)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._add(
                    f"The attribute {name} of the callback {kind} could not be restored ({error})",
                    "give the callback state_dict() and load_state_dict()",
                )
                continue
            if decoded is not existing:
                callback.__dict__[name] = decoded
        for name, digest in state.get("constants", {}).items():
            constant = self._constants.get((index, name))
            if constant is None or constant.digest != digest or not constant.is_unchanged():
                self._add(
                    f"The array {name} of the callback {kind} is not that of earlier attempts",
                    "create the same array in every attempt",
                )
            else:
                callback.__dict__[name] = constant.value

    def _add(self, what: str, remedy: str) -> None:
        self._found[Caveat(what, remedy)] = None


def _has_own_state(callback: Any) -> bool:
    return all(
        callable(getattr(callback, name, None)) for name in ("state_dict", "load_state_dict")
    )


def _flushed_size(callback: Any) -> int | None:
    """Flush a CSVLogger's file to disk and return its size in bytes."""
    file = callback.csv_file
    try:
        # that of legacy Keras is TensorFlow's: it has neither `closed` nor a descriptor
        if file is not None and not getattr(file, "closed", False):
            file.flush()
            durable.fsync_file(Path(callback.filename))
        return os.stat(callback.filename).st_size
    except OSError:
        return None
