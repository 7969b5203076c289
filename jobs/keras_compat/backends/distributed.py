"""Read the data of a ``fit`` by ``tf.data``, of Keras 3 on TensorFlow and of legacy Keras."""

from typing import Any

import tensorflow as tf


class Reader:
    """Read batches with ``tf.data``, distributed by the strategy of the model.

    Args:
        iterator: unused; as on the other backends.
        strategy: of the model.
    """

    def __init__(self, iterator: Any, strategy: Any) -> None:
        self._strategy = strategy

    def opened(self, adapter: Any) -> tuple[Any, Any]:
        """Return the dataset of Keras' adapter, and that over which a pass iterates."""
        dataset = adapter.get_tf_dataset()
        return dataset, self.distributed(dataset)

    def distributed(self, dataset: Any) -> Any:
        """Distribute a dataset to the replicas."""
        if isinstance(dataset, tf.distribute.DistributedDataset):
            return dataset
        return self._strategy.experimental_distribute_dataset(dataset)

    def converted(self, iterator: Any) -> Any:
        """Return an iterator over a dataset as Keras' step takes it."""
        return iterator
