"""Arrays of a ``fit`` of Keras 3, in an order of our own."""

from typing import Any

import numpy as np
import tensorflow as tf

from rekindle.jobs.capture.component import Json
from rekindle.jobs.data.shuffle import order
from rekindle.jobs.data.sources import OrderedSource, Pass
from rekindle.jobs.keras_compat.keras3 import array_slicing, tree


class ArraySource(OrderedSource):
    """Read the arrays of Keras' adapter."""

    _inputs: Any = None

    def open(self) -> None:
        pass

    @property
    def element_spec(self) -> Any:
        inputs, size = self._converted(), self.adapter._batch_size
        if not all(map(_is_dense, tf.nest.flatten(inputs))):
            return self._batches(0, 0).element_spec
        # a pipeline that tells the same costs 0.1 s, for the model of each of hundreds of folds
        rows = None if self.adapter._num_samples % size else size
        return tf.nest.map_structure(
            lambda one: tf.TensorSpec([rows, *one.shape[1:]], tf.as_dtype(one.dtype)), inputs
        )

    def plan(self) -> Json:
        return {
            "the number of samples": self.adapter._num_samples,
            "the batch size": self.adapter._batch_size,
            "shuffle": str(self.adapter._shuffle),
        }

    def begin_pass(self, number: int, first: int) -> Pass:
        return Pass(iter(self.distribute(self._batches(number, first))))

    def _batches(self, number: int, first: int) -> Any:
        """Build the dataset of pass ``number``, from batch ``first`` on."""
        adapter = self.adapter
        size = adapter._batch_size
        rows = order(self._seed, number, adapter._num_samples, size, adapter._shuffle)
        rows = rows[first * size :]
        full = len(rows) // size * size
        indices = tf.data.Dataset.from_tensor_slices(rows[:full].reshape(-1, size))
        if full < len(rows):
            indices = indices.concatenate(tf.data.Dataset.from_tensors(rows[full:]))
        inputs = tf.data.Dataset.from_tensors(self._converted())
        data = tf.data.Dataset.zip((indices, inputs.repeat()))
        data = data.map(_gather, num_parallel_calls=tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return data.with_options(options).prefetch(tf.data.AUTOTUNE)

    def _converted(self) -> Any:
        """Return the data as tensors, converted once: a new pass must not copy all of it."""
        if self._inputs is None:
            inputs = array_slicing.convert_to_sliceable(
                self.adapter._inputs, target_backend="tensorflow"
            )
            self._inputs = tree.lists_to_tuples(inputs)
        return self._inputs


def _is_dense(array: Any) -> bool:
    return isinstance(array, tf.Tensor) or (
        type(array) is np.ndarray and array.dtype.kind in "biuf"
    )


def _gather(indices: Any, data: Any) -> Any:
    def one(x: Any) -> Any:
        if isinstance(x, array_slicing.TensorflowSparseWrapper):
            return array_slicing.slice_tensorflow_sparse_wrapper(x, indices)
        if isinstance(x, list | tuple | dict):
            return None
        return tf.gather(x, indices, axis=0) if tf.is_tensor(x) else x

    return tree.traverse(one, data)
