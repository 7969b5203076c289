"""Callback that forwards Keras' events to a stage."""

from collections.abc import Callable
from typing import Any, Protocol

from rekindle.jobs.evidence.proof import Proof
from rekindle.jobs.keras_compat.internals import keras


class FitEvents(Protocol):
    """Handle Keras' events, listed in their order."""

    def begin(self) -> None: ...
    def epoch_begins(self, epoch: int) -> None: ...
    def batch_begins(self) -> None: ...
    def batch_ended(self, batch: int, logs: Any) -> None: ...
    def validation_begins(self) -> None: ...
    def validation_continues(self) -> None: ...
    def epoch_ends(self, epoch: int, logs: Any) -> None: ...


class Hook(keras.callbacks.Callback):  # type: ignore[misc]
    """Forward events to the stage; the last of all callbacks."""

    def __init__(self, stage: FitEvents) -> None:
        super().__init__()
        self._stage = stage

    def on_train_begin(self, logs: Any = None) -> None:
        self._stage.begin()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._stage.epoch_begins(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._stage.batch_begins()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._stage.batch_ended(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._stage.validation_begins()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._stage.validation_continues()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._stage.epoch_ends(epoch, logs)


class LogReader(keras.callbacks.Callback):  # type: ignore[misc]
    """Pass on the logs of steps and epochs before other callbacks change them; the first of all."""

    def __init__(self, proof: Callable[[], Proof]) -> None:
        super().__init__()
        self._proof = proof

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._proof().note_logs(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._proof().note_logs(logs)
