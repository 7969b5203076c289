"""Batches of a Keras whose training loop is not followed: whole epochs only."""

from collections.abc import Callable
from typing import Any

from keras.src.backend.tensorflow.trainer import TFEpochIterator
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.data.py_dataset import listens_to_epochs


class EpochwiseIterator(TFEpochIterator):  # type: ignore[misc]
    """Keras' own batches, for a Keras whose loop is not known here: whole epochs only.

    It counts the passes, so that a shuffle draws the next one after a relaunch.
    """

    def __init__(self, seed: int, stage: int, **arguments: Any) -> None:
        self.boundary: Callable[[int], None] = lambda steps: None
        self.pass_begins: Callable[[], None] = lambda: None
        self.beat: Callable[[], None] = lambda: None
        self.created = 0
        self.epoch_step = 0
        super().__init__(**arguments)

    @property
    def element_spec(self) -> Any:
        return self._distributed_dataset.element_spec

    @property
    def dataset(self) -> Any:
        return None

    @property
    def plan(self) -> dict[str, Any]:
        return {
            "the kind of data": type(self.data_adapter).__name__.removesuffix("Adapter"),
            "the number of batches": self.num_batches,
            "steps_per_execution": self.steps_per_execution,
        }

    def inexact(self) -> list[str]:
        if self.steps_per_epoch or isinstance(self.data_adapter, GeneratorDataAdapter):
            return [
                (
                    "Data that goes on from one epoch into the next begins anew with this "
                    "version of Keras; install a tested one."
                )
            ]
        if isinstance(self.data_adapter, PyDatasetAdapter) and listens_to_epochs(
            self.data_adapter.py_dataset
        ):
            return [
                (
                    "What a PyDataset changes when an epoch begins or ends begins anew with this "
                    "version of Keras; install a tested one."
                )
            ]
        return []

    def draws(self, tensors: Tensors) -> None:
        return None

    def drawn(self) -> dict[str, Any]:
        return {}

    def check_again(self) -> None:
        pass

    def close(self) -> None:
        pass

    def position(self) -> dict[str, Any]:
        return {
            "created": self.created,
            "taken": 0,
            "epoch_step": 0,
            "steps_seen": 0,
            "num_batches": self._num_batches,
            "live": False,
            "epochs_begun": 0,
        }

    def seek(
        self,
        position: dict[str, Any],
        before_live: Callable[[], None],
        draws: dict[str, Any] | None = None,
        tensors: Tensors | None = None,
    ) -> None:
        self.replay(position["created"])

    def put_back(
        self,
        position: dict[str, Any],
        draws: dict[str, Any] | None = None,
        tensors: Tensors | None = None,
    ) -> None:
        self.replay(position["created"])

    def replay(self, passes: int) -> None:
        if isinstance(self.data_adapter, TFDatasetAdapter):
            for _ in range(passes - self.created):
                self.beat()
                iter(self._distributed_dataset)
        self.created = passes

    def trained(self, epoch_step: int) -> None:
        self.epoch_step = epoch_step
        self.boundary(epoch_step)

    def epoch_over(self) -> None:
        self.epoch_step = 0

    def _get_iterator(self) -> Any:
        self.created += 1
        return super()._get_iterator()
