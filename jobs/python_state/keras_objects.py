"""Models, layers, metrics, optimizers and variables, as the walk through Python state sees them.

What Keras keeps in attributes of its own is left out: it is made again by the script, or saved
with the variables. What a script's class adds is followed, and public settings of layers.
"""

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.object_kinds import kinds, leaves
from rekindle.jobs.object_kinds.iterators import IteratorKinds
from rekindle.jobs.object_kinds.kinds import Kind, Leaf, ObjectKind, Slot
from rekindle.jobs.object_kinds.values import PLAIN, Unresolvable
from rekindle.jobs.python_state import jax_objects, torch_objects
from rekindle.jobs.python_state.reach import OPAQUE

_TRAINABLE: Final = ".trainable"
_SAMPLED: Final = 1 << 16
"""Least items of a variable outside of main memory that is compared by a sample."""

_OWN: Final = (
    "name built compiled optimizer loss train_function test_function predict_function "
    "history stop_training steps_per_execution unrolled_steps_per_execution build "
    "quantize autocast supports_jit call_signature_parameters activity_regularizer "
    "_trainable _get_metrics_result_or_logs params model _model "
)
"""Attributes that ``fit`` sets or that are restored elsewhere."""
_OWN_NAMES: Final = frozenset(_OWN.split()) | internals.OWN_NAMES

_GENERATORS: Final = (random.Random, np.random.Generator, np.random.RandomState)
# looked up once: each object of each walk is compared
_VARIABLES: Final = (*internals.KERAS_VARIABLES, tf.Variable)
_TENSOR: Final = tf.Tensor
_SYMBOLIC: Final = internals.KerasTensor
_CALLBACKS: Final = keras.callbacks.Callback
_DATA: Final = internals.PyDataset
_ELSEWHERE: Final = (*internals.SEED_GENERATORS, tf.random.Generator, tf.data.Dataset)
_PARTS: Final = (keras.layers.Layer, keras.metrics.Metric, *internals.OPTIMIZERS)

# of stock callbacks: what Keras sets again, or what is restored from files
_CALLBACK: Final = frozenset({"model", "_model", "params"})
_SAVING: Final = ("state_dict", "load_state_dict")
_MONITOR: Final = frozenset({"monitor_op", "min_delta"})
_CSV: Final = frozenset({"writer", "csv_file", "append", "append_header"})
_TENSORBOARD: Final = frozenset(
    {
        "_global_train_batch",
        "_global_test_batch",
        "_previous_epoch_iterations",
        "_should_write_train_graph",
    }
)


class VariableLeaf(Leaf):
    """A variable that no model of the stage owns; one that training makes can be made again."""

    name, made = "variable", True

    def digest(self, value: Any) -> str:
        return " ".join(map(_digest, variables.components(value)))

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        try:
            parts = [
                encode(np.asarray(part.numpy()), arrays, f"{prefix}/{replica}")
                for replica, part in enumerate(variables.components(value))
            ]
        except (TypeError, NotImplementedError) as error:
            raise Unsupported(str(error)) from None
        return {
            "parts": parts,
            "keras": isinstance(value, internals.KERAS_VARIABLES),
            "trainable": bool(value.trainable),
            "name": str(value.name).partition(":")[0],
        }

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        parts = variables.components(value)
        if len(parts) != len(body["parts"]):
            raise Unresolvable(f"a variable with {len(body['parts'])} replicas")
        for part, item in zip(parts, body["parts"], strict=True):
            part.assign(decode(item, arrays))

    def new(self, body: Any, arrays: Tensors) -> Any:
        if len(body["parts"]) != 1:
            raise Unresolvable(f"a new variable with {len(body['parts'])} replicas")
        content = decode(body["parts"][0], arrays)
        make = internals.KERAS_VARIABLES[0] if body["keras"] else tf.Variable
        return make(
            content, trainable=body["trainable"], name=body["name"], dtype=content.dtype.name
        )


class TensorLeaf(Leaf):
    """A tensor: it never changes, and a new one can be made."""

    name, made = "tensor", True

    def digest(self, value: Any) -> str:
        return _digest(value)

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        return encode(np.asarray(value.numpy()), arrays, prefix)

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        raise Unresolvable("a tensor of the script")

    def new(self, body: Any, arrays: Tensors) -> Any:
        return tf.constant(decode(body, arrays))


class KerasKind(ObjectKind):
    """A layer, model, metric or optimizer: settings, the script's own attributes, and parts."""

    name = "keras"

    def slots(self, value: Any) -> Iterator[Slot]:
        own = set()
        for slot in super().slots(value):
            if not _is_of_keras(slot):
                if type(slot.value) not in PLAIN:
                    own.add(identity_of(slot.value))
                yield slot
        if isinstance(value, keras.layers.Layer):
            yield Slot(_TRAINABLE, "trainable", bool(vars(value).get("_trainable", True)))
        for label, part in _parts(value):
            if identity_of(part) not in own:
                yield Slot(label, None, part, settable=False)

    def made_of(self, value: Any) -> list[Any] | None:
        # a class of the script may bind what is to end at once, e.g. an open file
        if own_code.own_classes(value) or isinstance(value, keras.Model) or kinds.members(value):
            return None
        held = dict(vars(value))
        found = [*held, *held.values()]
        for group in (internals.HELD_LAYERS, *internals.HELD_VARIABLES):
            found += held.get(group) or ()
        return found

    def put(self, value: Any, slot_key: Any, item: Any) -> None:
        if slot_key == "trainable":
            # Keras' own setter, which sets that of variables and sublayers, too
            keras.layers.Layer.trainable.fset(value, item)
        else:
            super().put(value, slot_key, item)

    def left_out(self, value: Any) -> frozenset[Any]:
        owner: Any = type(value)
        return _left_out(owner)


@functools.lru_cache(maxsize=1024)
def _left_out(owner: Any) -> frozenset[str]:
    private = (name for name in own_code.names_written(owner) if name.startswith("_"))
    return _OWN_NAMES.union(private)


def _is_of_keras(slot: Slot) -> bool:
    """Return whether an attribute is a symbolic tensor, or one of Keras' notes to itself."""
    if slot.label.startswith("._"):
        return slot.label.startswith("._self_")
    if internals.LEGACY and isinstance(slot.value, tf.Variable):
        return True  # an attribute that the layer lists among its weights, which are parts
    return isinstance(slot.value, _SYMBOLIC)


class CallbackKind(ObjectKind):
    """A callback without methods of its own to save it."""

    name = "callback"

    def slots(self, value: Any) -> Iterator[Slot]:
        left = set(_CALLBACK)
        if "monitor_op" in vars(value):
            # Keras makes monitor_op at the first epoch end, which flips the sign of min_delta
            left |= _MONITOR
        if isinstance(value, keras.callbacks.CSVLogger):
            left |= _CSV
        board = isinstance(value, keras.callbacks.TensorBoard)
        own = has_own_state(value)
        for slot in super().slots(value):
            if slot.label.startswith("<") or (
                slot.key not in left and not own and (not board or slot.key in _TENSORBOARD)
            ):
                yield slot


class DataKind(ObjectKind):
    """A ``PyDataset``; the random generators in its attributes are restored with the data."""

    name = "data"

    def slots(self, value: Any) -> Iterator[Slot]:
        for slot in super().slots(value):
            if type(slot.value) not in _GENERATORS:
                yield slot


def has_own_state(callback: Any) -> bool:
    """Return whether a callback has ``state_dict`` and ``load_state_dict``."""
    bases = type(callback).__mro__
    return all(any(name in vars(base) for base in bases) for name in _SAVING)


VARIABLE, TENSOR, KERAS, CALLBACK = VariableLeaf(), TensorLeaf(), KerasKind(), CallbackKind()
DATA = DataKind()
KINDS: Final[dict[str, Kind]] = {
    kind.name: kind for kind in (VARIABLE, TENSOR, torch_objects.TORCH, jax_objects.JAX)
}


class Classifier:
    """Choose the kind of an object of Keras or TensorFlow.

    Args:
        saved: returns the variables that other components save.
        beat: called while an iterator is read again; may end the process.

    Attributes:
        known: identities of the variables that other components save.
    """

    def __init__(
        self, saved: Callable[[], list[Any]], beat: Callable[[], None] = lambda: None
    ) -> None:
        self._saved = saved
        self._iterators = IteratorKinds(beat)
        self.known: set[int] = set()

    def look(self) -> "Classifier":
        """Ask again which variables other components save; return self."""
        self.known = {identity_of(part) for part in self._saved()}
        return self

    def __call__(self, value: Any) -> Kind | None:
        if isinstance(value, _VARIABLES):
            return self._variable(value)
        if isinstance(value, _TENSOR):
            return TENSOR if hasattr(value, "numpy") else OPAQUE
        if isinstance(value, _PARTS):
            return KERAS
        if isinstance(value, _CALLBACKS):
            return CALLBACK
        if isinstance(value, _DATA):
            return DATA
        if isinstance(value, _ELSEWHERE):
            return OPAQUE  # followed by other components
        if torch_objects.is_tensor(value):
            return torch_objects.TORCH
        if jax_objects.is_value(value):
            return jax_objects.JAX
        kind = self._iterators.of(value)
        if kind is not None:
            return kind
        if type(value).__module__.startswith("tensorflow."):
            if type(value).__name__ == "_DictWrapper":
                return kinds.WRAPPED_DICT
            if "_python_function" in kinds.attributes(value):
                return FUNCTION
        return None

    def _variable(self, value: Any) -> Kind:
        try:
            parts = variables.components(value)
        except Exception:
            return OPAQUE
        if any(identity_of(part) in self.known for part in parts):
            return OPAQUE
        readable = all(
            hasattr(part, "numpy") and getattr(part.shape, "rank", 0) is not None for part in parts
        )
        return VARIABLE if readable else OPAQUE


class TracedFunctionKind(Kind):
    """A ``tf.function``: the Python function in it."""

    name = "bound"

    def slots(self, value: Any) -> Iterator[Slot]:
        yield Slot("", None, vars(value)["_python_function"], settable=False)


FUNCTION = TracedFunctionKind()


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers, metrics, losses and variables that an object of Keras holds."""
    held = vars(value)
    for index, layer in enumerate(list(held.get(internals.HELD_LAYERS) or ())):
        yield f".layers[{index}]", layer
    if isinstance(value, keras.Model):
        yield from internals.compiled_parts(value)
    for group in internals.HELD_VARIABLES:
        for index, variable in enumerate(list(held.get(group) or ())):
            yield f".{group.strip('_')}[{index}]", variable
    if isinstance(value, internals.OPTIMIZERS):
        yield ".learning_rate", held.get("_learning_rate")


def _digest(value: Any) -> str:
    """Digest a variable or tensor; on another device than the processor a sample of a large one."""
    size = int(np.prod(value.shape))
    if size < _SAMPLED or "CPU" in str(value.device):
        return leaves.digest_array(np.asarray(value.numpy()))
    return leaves.digest_array(tf.reshape(value, [-1])[:: size // _SAMPLED + 1].numpy())
