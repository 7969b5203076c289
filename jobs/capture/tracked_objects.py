"""Tracked objects of a loop: models, optimizers, metrics and other state.

Everything is restored into the existing objects, since the loop's code references them.
"""

import random
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode, is_tree
from rekindle.jobs.capture.component import Caveat, ComponentBase, Json
from rekindle.jobs.capture.variables import Groups
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.weights.layer_attributes import HOLDERS, Attributes
from rekindle.state.errors import UsageError
from rekindle.state.run.training_state import TrainingState


class TrackedModels:
    """Hold the models, optimizers and metrics of a loop.

    Args:
        model, optimizer, metrics: one, or a list or dict of them. Optimizers of compiled
            models, and those that are attributes of a model, are found without being named.

    Raises:
        UsageError: something cannot be saved and restored.
    """

    def __init__(self, model: Any, optimizer: Any, metrics: Any) -> None:
        self.models = _named(model, "model")
        self.metrics = _named(metrics, "metrics")
        self.optimizers: dict[str, Any] = {}
        self._compiled: dict[Any, Any] = {}
        self._attributes = Attributes(HOLDERS)
        for label, one in self.models.items():
            if not isinstance(one, keras.Model):
                raise UsageError(
                    f"The {label} is a {type(one).__name__}, not a keras.Model.",
                    hint="Give layers and tf.Modules in state={...}.",
                )
            for name, found in variables.optimizers(one).items():
                self.optimizers[name + label.removeprefix("model")] = found
                if found is getattr(one, "optimizer", None):
                    self._compiled[found] = one
        for label, one in _named(optimizer, "optimizer").items():
            if not any(one is known for known in self.optimizers.values()):
                name = label if label not in self.optimizers else f"{label}.given"
                self.optimizers[name] = one

    def build(self) -> None:
        """Create every variable, so that it can be restored.

        Raises:
            UsageError: a model or an optimizer is not built and cannot be built here.
        """
        for label, model in self.models.items():
            if not all(layer.built for layer in model._flatten_layers()):
                raise UsageError(
                    f"The {label} {model.name} is not built: its variables do not exist yet.",
                    hint="Build it before the loop: model.build(shape), or call it on a batch.",
                )
        everything = list(self.optimizers.values())
        # a loop with an optimizer of its own never builds the compiled one
        own = [optimizer for optimizer in everything if optimizer not in self._compiled]
        paired = dict(self._compiled)
        for some in (everything, own):
            if len(some) == len(self.models):
                paired = {**dict(zip(some, self.models.values(), strict=True)), **paired}
        for label, optimizer in self.optimizers.items():
            if internals.is_optimizer_built(optimizer):
                continue
            model = paired.get(optimizer)
            if model is None:
                raise UsageError(
                    f"The {label} is not built, and its variables cannot be inferred.",
                    hint="Build it before the loop: optimizer.build(variables).",
                )
            with internals.scope(model):
                internals.build_optimizer(optimizer, internals.trainable_variables(model))
        for label, metric in self.metrics.items():
            if not metric.variables:
                raise UsageError(
                    f"The {label} {metric.name} is not built.",
                    hint="Build it before the loop: metric.build(y, y_pred).",
                )

    def roots(self) -> dict[str, Any]:
        """Return models, optimizers and metrics by the name of their argument."""
        return {**self.models, **self.optimizers, **self.metrics}

    def groups(self) -> Groups:
        """Return all their variables, each group in an order fixed by the script."""
        found, attributes = self.listed(), self._attributes.begin()
        for label, model in self.models.items():
            if kept := variables.plain(model, found, attributes):
                found["plain" + label.removeprefix("model")] = kept
        for label, model in self.models.items():
            if hidden := variables.untracked(model, found, attributes):
                found["untracked" + label.removeprefix("model")] = hidden
        return found

    def listed(self) -> Groups:
        """Return the variables that Keras lists itself."""
        found: Groups = {
            label: internals.model_variables(model) for label, model in self.models.items()
        }
        for label, model in self.models.items():
            if buffers := internals.buffers(model):
                found["buffers" + label.removeprefix("model")] = buffers
        for label, optimizer in self.optimizers.items():
            found[label] = internals.optimizer_variables(optimizer)
        for label, metric in self.metrics.items():
            found[label] = list(metric.variables)
        return found


class TrackedState(ComponentBase):
    """Capture and restore the objects in ``state=``; a component of a loop.

    Args:
        state: objects by name; see :func:`_kind` for their types.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._found: dict[Caveat, None] = {}

    def names(self) -> list[str]:
        """List the names of the objects."""
        return list(self._state)

    def check(self) -> None:
        """Check that everything in it can be saved.

        Raises:
            UsageError: something cannot.
        """
        self.capture({})
        if self._found:
            raise UsageError(
                f"Not all of the state can be saved: {' '.join(map(str, self._found))}",
                hint="Remove that from state=.",
            )

    def capture(self, arrays: Tensors) -> TrainingState:
        kept: Json = {}
        for name, value in self._state.items():
            try:
                kept[name] = _out(value, arrays, f"state/{name}")
            except Unsupported as error:
                what = f"state[{name!r}] contains {error}, which is not saved"
                self._found[Caveat(what, "give that state_dict() and load_state_dict()")] = None
        return {"state": kept}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        for name, (kind, body) in saved["state"].items():
            self._state[name] = _in(kind, body, arrays, self._state.get(name))

    def caveats(self) -> list[Caveat]:
        return list(self._found)

    def receipt(self, saved: TrainingState) -> list[str]:
        return [f"state: {', '.join(saved['state'])}"] if saved["state"] else []

    def held(self) -> list[Any]:
        """List the dict of the script, and the objects in it."""
        return [self._state, *self._state.values()]

    def variables(self) -> list[Any]:
        """List the TensorFlow variables in it."""
        found: list[Any] = []
        for value in self._state.values():
            found += [value] if hasattr(value, "assign") else _variables(value) or []
        return [getattr(value, "_value", value) for value in found]


def _named(given: Any, label: str) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, dict):
        return {f"{label}.{name}": one for name, one in given.items()}
    if isinstance(given, list | tuple):
        return {f"{label}.{index}": one for index, one in enumerate(given)}
    return {label: given}


def _kind(value: Any) -> str:
    """Choose how to save a value: own methods, variables, attributes, or plain data."""
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return "own"
    if _is_of_library(value):
        return "plain"
    if _variables(value) is not None:
        return "variables"
    if (
        hasattr(value, "__dict__")
        and not hasattr(value, "assign")
        and not callable(value)
        and not isinstance(value, np.ndarray | np.generic | dict | random.Random)
    ):
        return "attributes"
    return "plain"


def _is_of_library(value: Any) -> bool:
    """Return whether a value is one of JAX or PyTorch that is encoded as it is."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, (torch.Tensor, torch.Generator)):
        return True
    jax: Any = sys.modules.get("jax")
    if jax is None:
        return False
    return isinstance(value, (jax.Array, tuple)) or is_tree(jax, value)


def _variables(value: Any) -> list[Any] | None:
    generators: tuple[Any, ...] = (tf.random.Generator, *internals.SEED_GENERATORS)
    if isinstance(value, generators):
        return [value.state]
    if hasattr(value, "assign"):
        return None
    found = getattr(value, "variables", None)
    return list(found) if isinstance(found, Iterable) else None


def _out(value: Any, tensors: Tensors, prefix: str) -> list[Any]:
    kind = _kind(value)
    if kind == "own":
        return [kind, encode(value.state_dict(), tensors, prefix)]
    if kind == "variables":
        return [
            kind,
            [
                encode(one, tensors, f"{prefix}/{index}")
                for index, one in enumerate(_variables(value) or [])
            ],
        ]
    if kind == "attributes":
        return [
            kind,
            {name: encode(one, tensors, f"{prefix}/{name}") for name, one in vars(value).items()},
        ]
    return [kind, encode(value, tensors, prefix)]


def _in(kind: str, body: Any, tensors: Tensors, existing: Any) -> Any:
    if kind == "own":
        existing.load_state_dict(decode(body, tensors))
        return existing
    if kind == "variables":
        for one, item in zip(_variables(existing) or [], body, strict=True):
            decode(item, tensors, one)
        return existing
    if kind == "attributes":
        for name, item in body.items():
            before = vars(existing).get(name)
            vars(existing)[name] = _same(before, decode(item, tensors, before))
        return existing
    return _same(existing, decode(body, tensors, existing))


def _same(existing: Any, value: Any) -> Any:
    """Fill the existing object with ``value`` if possible; others may reference it."""
    if existing is value or type(existing) is not type(value):
        return value
    if isinstance(existing, dict | set):
        existing.clear()
        existing.update(value)
    elif isinstance(existing, list):
        existing[:] = value
    elif hasattr(existing, "maxlen"):
        existing.clear()
        existing.extend(value)
    elif (
        isinstance(existing, np.ndarray)
        and existing.shape == value.shape
        and (existing.dtype == value.dtype)
    ):
        existing[...] = value
    else:
        return value
    return existing
