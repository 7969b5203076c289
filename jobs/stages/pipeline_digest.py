"""Digest of TensorFlow's and Keras' data: tensors, pipelines with their functions, PyDatasets."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from rekindle.jobs.data.pipeline import graph
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.stages.data_digest import DataDigest, count_leaves
from rekindle.jobs.stages.key import DataKey
from rekindle.jobs.stages.stable_text import stable_text

_MOST_OPERATIONS: Final = 5000
_LARGE: Final = 2**20
_UNSTABLE: Final = frozenset(
    {"shared_name", "container", "token", "metadata", "debug_name", "config", "config_proto"}
)
"""Attributes of operations that number the objects of a process."""
_SEEDS: Final = frozenset({"seed", "seed2", "_seed", "_seed2", "random_seed"})

_first: "weakref.WeakKeyDictionary[Any, DataKey]" = weakref.WeakKeyDictionary()
"""Keys of the objects that a training may change, as of their first use."""


def of(values: dict[str, Any]) -> DataKey:
    """Digest the data of a stage, by name of the argument."""
    digest = DataDigest(_special, leaves=count_leaves(values))
    for name, value in values.items():
        if value is not None:
            digest.text(name)
            digest.add(value)
    return digest.key()


def _special(digest: DataDigest, value: Any) -> bool:
    """Digest a value of TensorFlow or Keras."""
    if isinstance(value, tf.data.Dataset):
        _pipeline(digest, value)
    elif isinstance(value, internals.PyDataset):
        _object(digest, value)
    elif isinstance(value, (tf.Tensor, tf.Variable, *internals.KERAS_VARIABLES)):
        _tensor(digest, value)
    elif isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        digest.describe(type(value).__name__)
        for part in tf.nest.flatten(value, expand_composites=True):
            _tensor(digest, part)
    elif isinstance(value, tf.distribute.DistributedDataset):
        digest.describe(type(value).__name__)
        digest.text(str(value.element_spec))
    elif isinstance(value, (keras.layers.Layer, tf.Module, *internals.OPTIMIZERS)):
        digest.text(f"<{type(value).__name__}>")  # their variables change during a training
    elif type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "dataset"):
        _object(digest, value)
    else:
        return False
    return True


def _object(digest: DataDigest, value: Any) -> None:
    """Digest class, length and plain attributes, as of the first use of the object."""
    with contextlib.suppress(TypeError):
        if value not in _first:
            inner = DataDigest(_tensors_only, leaves=count_leaves(vars(value)))
            inner.attributes(value)
            with contextlib.suppress(Exception):
                inner.describe(f"of length {len(value)}")
            _first[value] = inner.key()
    known = _first.get(value, DataKey())
    digest.describe(type(value).__name__)
    digest.take(known)


def _tensors_only(digest: DataDigest, value: Any) -> bool:
    """Digest a value of TensorFlow or Keras among the attributes of an object."""
    if isinstance(value, internals.PyDataset):
        digest.attributes(value)
        return True
    return _special(digest, value)


def _tensor(digest: DataDigest, value: Any) -> None:
    spec = f"{getattr(value.dtype, 'name', value.dtype)} {tuple(value.shape)}"
    digest.describe(spec)
    tensor = value.value if isinstance(value, internals.KERAS_VARIABLES) else value
    if not hasattr(tensor, "numpy") or tensor.dtype in (tf.resource, tf.variant):
        return
    try:
        digest.array(_array(tensor), listed=False)
    except Exception:
        digest.text("unreadable")


def _array(tensor: Any) -> "np.ndarray[Any, Any]":
    """Return a tensor's values, of a large one without a copy or of some rows."""
    if tensor.dtype == tf.string:
        return np.asarray(tensor[:512].numpy() if tensor.shape.rank else tensor.numpy(), object)
    size = int(tf.size(tensor)) * tensor.dtype.size
    if size <= _LARGE:
        return np.asarray(tensor.numpy())
    with contextlib.suppress(TypeError, ValueError, BufferError):
        return np.asarray(memoryview(tensor))  # in the host's memory: no copy
    flat = tf.reshape(tensor, [-1])
    count = int(flat.shape[0])
    return np.asarray(flat[:: max(count // 65536, 1)].numpy())


# pipelines


def _pipeline(digest: DataDigest, dataset: Any) -> None:
    digest.describe(_spec(dataset))
    for node in _in_order(dataset):
        digest.text(type(node).__name__)
        for name, value in sorted(vars(node).items()):
            _attribute(digest, name, value)
        for function in graph.functions(node):
            _function(digest, function, set())


def _spec(dataset: Any) -> str:
    try:
        specs = tf.nest.flatten(dataset.element_spec)
        return "dataset of " + " and ".join(
            f"{one.dtype.name} {one.shape}" if hasattr(one, "dtype") else type(one).__name__
            for one in specs[:3]
        )
    except Exception:
        return "dataset"


def _in_order(dataset: Any) -> Iterator[Any]:
    """List the nodes of a pipeline, each after the one that reads it, in a fixed order."""
    return graph.nodes(dataset)


def _attribute(digest: DataDigest, name: str, value: Any) -> None:
    """Add a plain attribute of a node: a count, a batch size, the tensors of its elements."""
    if name in _SEEDS:
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
            digest.seed(value.numpy())
        elif isinstance(value, int):
            digest.seed(value)
    elif isinstance(value, bool | int | float | str):
        if name != "_name":
            digest.text(name)
            digest.add(value)
    elif isinstance(value, tf.Tensor):
        if value.dtype not in (tf.variant, tf.resource):
            digest.text(name)
            _content(digest, value)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], tf.Tensor):
        digest.text(name)
        for one in value:
            if isinstance(one, tf.Tensor):
                _content(digest, one)


def _content(digest: DataDigest, tensor: Any) -> None:
    """Add a tensor; of names of files also what is in some of the files."""
    if not hasattr(tensor, "numpy") or tensor.dtype in (tf.variant, tf.resource):
        return
    if tensor.dtype == tf.string:
        try:
            values = np.asarray(tensor.numpy(), object).reshape(-1)
            digest.text(f"strings {tuple(tensor.shape)}")
            digest.sequence([bytes(one) for one in values[:4096]])
        except Exception:
            digest.text("unreadable")
        return
    with contextlib.suppress(Exception):
        digest.array(_array(tensor), listed=False)


def _function(digest: DataDigest, function: Any, seen: set[int]) -> None:
    """Add the operations of a function, and the tensors that it captures."""
    graph = getattr(function, "graph", None)
    if graph is not None:
        _graph(digest, graph, seen)
    for captured in getattr(function, "captured_inputs", ()):
        if hasattr(captured, "numpy"):
            _content(digest, captured)


def _graph(digest: DataDigest, graph: Any, seen: set[int]) -> None:
    if id(graph) in seen or len(seen) > 100:
        return
    seen.add(id(graph))
    for operation in graph.get_operations()[:_MOST_OPERATIONS]:
        digest.text(operation.type)
        for name, value in sorted(operation.node_def.attr.items()):
            _operation_attribute(digest, name, value)
    inner = getattr(graph, "_functions", {})
    for function in inner.values():  # in the order in which they were traced
        if getattr(function, "graph", None) is not None:
            _graph(digest, function.graph, seen)


def _operation_attribute(digest: DataDigest, name: str, value: Any) -> None:
    if name in _UNSTABLE or name.startswith("_"):
        return
    kind = value.WhichOneof("value")
    if name in _SEEDS:
        digest.seed(value.i)
    elif kind == "tensor":
        if value.tensor.ByteSize() <= _LARGE:
            _content_of_proto(digest, value.tensor)
    elif kind == "s":
        digest.text(stable_text(value.s.decode("utf-8", "replace")))
    elif kind in ("i", "b", "f", "type", "shape"):
        digest.text(f"{name} {getattr(value, kind)}")
    elif kind == "list":
        parts = value.list
        digest.text(f"{name} {list(parts.i)} {list(parts.type)} {list(parts.b)}")


def _content_of_proto(digest: DataDigest, proto: Any) -> None:
    with contextlib.suppress(Exception):
        array = tf.make_ndarray(proto)
        if array.dtype.kind == "O":
            digest.sequence([bytes(one) for one in array.reshape(-1)[:4096]])
        else:
            digest.array(array, listed=False)
