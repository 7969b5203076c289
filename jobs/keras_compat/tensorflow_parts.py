"""Parts of TensorFlow that what follows a training uses; absent where a script has no TensorFlow.

Import it only where a training is followed: the first import decides
(:mod:`rekindle.jobs.keras_compat.followed`).
"""

from typing import TYPE_CHECKING, Final

from rekindle.jobs.keras_compat import followed
from rekindle.jobs.keras_compat.absent import absent

__all__ = [
    "PRESENT",
    "context",
    "dataset_ops",
    "dataset_pb2",
    "gen_dataset_ops",
    "gen_experimental_dataset_ops",
    "iterator_ops",
    "multi_device_iterator_ops",
    "resource_variable_ops",
    "tensor_pb2",
    "tf",
    "tracing_compilation",
]

PRESENT: Final = followed.has_tensorflow()
"""False where nothing of TensorFlow can be met."""

if TYPE_CHECKING or PRESENT:
    import tensorflow as tf
    from tensorflow.core.framework import dataset_pb2, tensor_pb2
    from tensorflow.python.data.ops import dataset_ops, iterator_ops, multi_device_iterator_ops
    from tensorflow.python.eager import context
    from tensorflow.python.ops import (
        gen_dataset_ops,
        gen_experimental_dataset_ops,
        resource_variable_ops,
    )

    try:
        from tensorflow.python.eager.polymorphic_function import tracing_compilation
    except ImportError:  # of a version that traces elsewhere
        tracing_compilation = None
else:
    tf = absent("tensorflow", __version__="none")
    tracing_compilation = None
    dataset_pb2, tensor_pb2 = tf.dataset_pb2, tf.tensor_pb2
    dataset_ops, iterator_ops = tf.dataset_ops, tf.iterator_ops
    multi_device_iterator_ops, context = tf.multi_device_iterator_ops, tf.context
    gen_dataset_ops, resource_variable_ops = tf.gen_dataset_ops, tf.resource_variable_ops
    gen_experimental_dataset_ops = tf.gen_experimental_dataset_ops
