"""What belongs to a loop of the script's own: models, optimizers, metrics and other state.

Everything is put back into the objects that are there, since the loop's code holds them.
"""

import random
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.codec import NotPlain, Tensors, decode, encode
from rekindle.jobs.capture.variables import Groups
from rekindle.state.errors import UsageError


class Belongings:
    """
    Args:
        model, optimizer, metrics: one, or a list or dict of them. Optimizers of compiled
            models, and those that are attributes of a model, need not be named.
        state: anything else by name; see :func:`_kind` for what it may hold.

    Raises:
        UsageError: something cannot be saved and put back.
    """

    def __init__(self, model: Any, optimizer: Any, metrics: Any, state: dict[str, Any]) -> None:
        self.models = _named(model, "model")
        self.metrics = _named(metrics, "metrics")
        self.state = state
        self.optimizers: dict[str, Any] = {}
        for label, one in self.models.items():
            if not isinstance(one, keras.Model):
                raise UsageError(
                    f"The {label} is a {type(one).__name__}, not a keras.Model.",
                    hint="Give layers and tf.Modules in state={...}.",
                )
            for name, found in variables.optimizers(one).items():
                self.optimizers[name + label.removeprefix("model")] = found
        for label, one in _named(optimizer, "optimizer").items():
            if not any(one is known for known in self.optimizers.values()):
                name = label if label not in self.optimizers else f"{label}.given"
                self.optimizers[name] = one

    def build(self) -> None:
        """Makes every variable exist, so that it can be restored.

        Raises:
            UsageError: a model or an optimizer is not built and cannot be built here.
        """
        for label, model in self.models.items():
            if not all(layer.built for layer in model._flatten_layers()):
                raise UsageError(
                    f"The {label} {model.name} is not built: its variables do not exist yet.",
                    hint="Build it before the loop: model.build(shape), or call it on a batch.",
                )
        paired = (
            dict(zip(self.optimizers.values(), self.models.values(), strict=False))
            if (len(self.optimizers) == len(self.models))
            else {}
        )
        for label, optimizer in self.optimizers.items():
            if optimizer.built:
                continue
            model = paired.get(optimizer)
            if model is None:
                raise UsageError(
                    f"The {label} is not built, and it is not clear for which variables it is.",
                    hint="Build it before the loop: optimizer.build(variables).",
                )
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)
        for label, metric in self.metrics.items():
            if not metric.variables:
                raise UsageError(
                    f"The {label} {metric.name} is not built.",
                    hint="Build it before the loop: metric.build(y, y_pred).",
                )

    def groups(self) -> Groups:
        """Variables of models, optimizers and metrics, each in an order fixed by the script."""
        found: Groups = {label: list(model.variables) for label, model in self.models.items()}
        for label, optimizer in self.optimizers.items():
            found[label] = list(optimizer.variables)
        for label, metric in self.metrics.items():
            found[label] = list(metric.variables)
        return found

    def fingerprint(self, plan: dict[str, Any]) -> dict[str, Any]:
        """What must be the same in every attempt; as of one model, where there are several."""
        merged: dict[str, Any] = {"model": "", "layers": [], "optimizers": {}, "plan": plan}
        for model in self.models.values():
            one = variables.fingerprint(model, {})
            merged["model"] += one["model"]
            merged["layers"] += one["layers"]
        for label, optimizer in self.optimizers.items():
            merged["optimizers"][label] = [type(optimizer).__name__, {}]
        return merged

    def capture(self, tensors: Tensors) -> tuple[dict[str, Any], list[str]]:
        """The user's own state as JSON and arrays, and in words what of it cannot be kept."""
        kept: dict[str, Any] = {}
        left_out = []
        for name, value in self.state.items():
            try:
                kept[name] = _out(value, tensors, f"state/{name}")
            except NotPlain as error:
                left_out.append(
                    f"state[{name!r}] holds {error}; give that state_dict() and load_state_dict()"
                )
        return kept, left_out

    def restore(self, kept: dict[str, Any], tensors: Tensors) -> None:
        """Puts the user's own state back, in place where an object is there."""
        for name, (kind, body) in kept.items():
            self.state[name] = _in(kind, body, tensors, self.state.get(name))


def _named(given: Any, label: str) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, dict):
        return {f"{label}.{name}": one for name, one in given.items()}
    if isinstance(given, list | tuple):
        return {f"{label}.{index}": one for index, one in enumerate(given)}
    return {label: given}


def _kind(value: Any) -> str:
    """How a value is kept: by its own methods, its variables, as plain data, or attributes."""
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return "own"
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


def _variables(value: Any) -> list[Any] | None:
    if isinstance(value, tf.random.Generator | keras.random.SeedGenerator):
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
    """The object that is there, filled with ``value``; others may hold a reference to it."""
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
