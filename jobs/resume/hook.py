"""The callback by which Keras tells a stage what happens."""

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from rekindle.jobs.resume.fit_stage import Stage


class Hook(keras.callbacks.Callback):  # type: ignore[misc]
    """Stands behind all other callbacks and tells the stage what happens."""

    def __init__(self, stage: "Stage") -> None:
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
        self._stage.validation_goes_on()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._stage.epoch_ends(epoch, logs)
