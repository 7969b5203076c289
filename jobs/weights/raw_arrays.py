"""Raw arrays: types that safetensors cannot hold, stored as bytes and read back bit for bit."""

import base64
import functools
import json
import sys
from typing import Any, Final

import numpy as np

from rekindle.jobs.weights.device_copies import DeviceCopies, DeviceCopy

Array = np.ndarray[Any, Any]

_PLAIN: Final = frozenset("biuf")


def packed(array: Array) -> Array:
    """Return an array that a checkpoint can hold; :func:`unpacked` reverses it.

    Raises:
        TypeError: an array of objects that are not strings.
    """
    if array.dtype.kind in "OSU":
        return _packed_strings(array)
    if array.dtype.kind in _PLAIN and array.dtype.itemsize <= 8:
        return array
    if array.dtype.itemsize in (1, 2, 4, 8):
        return array  # bfloat16, int4 or complex64: stored as unsigned integers of their width
    # complex128 or longdouble: the last axis holds the bytes of a value
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.reshape(*array.shape, array.dtype.itemsize)


def unpacked(array: Array, wanted: Any) -> Array:
    """Return what was packed, as ``wanted``, a type of numpy.

    Raises:
        ValueError: it is no such array.
    """
    wanted = np.dtype(wanted)
    if wanted.kind in "OSU":
        return _unpacked_strings(array)
    if array.dtype == wanted:
        return array
    if array.dtype.itemsize == wanted.itemsize:
        return _viewed(array, wanted)
    if array.dtype != np.uint8 or array.shape[-1:] != (wanted.itemsize,):
        raise ValueError(f"an array of {array.dtype} {array.shape} cannot hold {wanted}")
    return _viewed(np.ascontiguousarray(array), wanted).reshape(array.shape[:-1])


def _viewed(array: Array, wanted: Any) -> Array:
    viewed: Array = array.view(wanted)
    return viewed


def _packed_strings(array: Array) -> Array:
    items = []
    for item in array.reshape(-1).tolist():
        if not isinstance(item, bytes | str):
            raise TypeError(f"{type(item).__module__}.{type(item).__qualname__}")
        raw = item if isinstance(item, bytes) else item.encode()
        items.append(base64.b64encode(raw).decode())
    text = json.dumps([list(array.shape), items])
    return np.frombuffer(text.encode(), np.uint8).copy()


def _unpacked_strings(array: Array) -> Array:
    shape, items = json.loads(array.tobytes())
    made = np.empty(len(items), dtype=object)
    made[:] = [base64.b64decode(item) for item in items]
    return made.reshape(shape)


def numpy_type(component: Any) -> np.dtype[Any]:
    """Return the type of numpy that holds the values of a variable."""
    name = getattr(component.dtype, "as_numpy_dtype", None)
    if name is None:
        import ml_dtypes  # noqa: F401  Keras needs it: it adds bfloat16 and others to numpy

        name = str(component.dtype)
    found: np.dtype[Any] = np.dtype(name)
    return found


def value_of(component: Any) -> Array:
    """Return the value of a variable, which training never changes.

    Of TensorFlow's variables on a processor nothing is copied: TensorFlow writes a new value into
    another buffer while this one is in use (``PrepareToUpdateVariable`` in
    core/kernels/training_op_helpers.h, and the same test in XLA's donation of buffers). PyTorch
    and JAX may write into the same one.
    """
    if not _is_resource(component):
        value, wanted = np.array(_read(component), order="C", copy=True), numpy_type(component)
        # Keras on PyTorch widens what numpy lacks
        return value if value.dtype == wanted or wanted.kind == "O" else value.astype(wanted)
    read = _read_op()(resource=component.handle, dtype=component.dtype)
    # its method numpy() is this and a copy
    return np.asarray(read._numpy() if hasattr(read, "_numpy") else read.numpy())


def copy_on_device(component: Any, copies: DeviceCopies) -> DeviceCopy | None:
    """Copy the value of a variable on its accelerator; None where it is to be read at once."""
    value = None if _is_resource(component) else getattr(component, "value", None)
    if value is None or callable(value):
        return None
    return copies.of(value, numpy_type(component))


def _read(component: Any) -> Any:
    """Return the value of a variable; without a copy where it is in host memory already."""
    value, torch = getattr(component, "value", None), sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor) and value.dtype != torch.bfloat16:
        return value.detach().cpu().numpy()
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, getattr(jax, "Array", ())):
        return np.asarray(value)
    return component.numpy()


def assign(component: Any, array: Array) -> None:
    """Assign an array to a variable, of TensorFlow at half the cost of its method."""
    if (
        not _is_resource(component)
        or array.dtype.kind not in _PLAIN
        or array.dtype != component.dtype.as_numpy_dtype
        or component.shape != array.shape  # one that may change, too
    ):
        component.assign(array)
        return
    import tensorflow as tf

    tf.raw_ops.AssignVariableOp(resource=component.handle, value=tf.constant(array))


@functools.cache
def _read_op() -> Any:
    import tensorflow as tf  # the script has imported it

    return tf.raw_ops.ReadVariableOp


def _is_resource(component: Any) -> bool:
    return type(component).__name__ == "ResourceVariable"
