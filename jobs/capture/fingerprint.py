"""Fingerprint: layers, optimizers and plan, which must be the same in every attempt."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np

from rekindle.jobs.capture.component import Caveat, Json
from rekindle.jobs.capture.variables import CHANGED_HINT, components
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.weights import auto_names, layer_attributes
from rekindle.jobs.weights.auto_names import Ranks
from rekindle.jobs.weights.raw_arrays import value_of
from rekindle.state.counted import few
from rekindle.state.errors import StateMismatch
from rekindle.state.run.training_state import Fingerprint

RATE: Final = "learning_rate"
"""Name of the variable and of the setting."""


_UNREAD: Final = frozenset({'"<float32>"', '"<float64>"'})
"""Settings in checkpoints of an earlier version, which did not read numbers of numpy."""


def of(models: list[Any], optimizers: dict[str, Any], names: Ranks | None = None) -> Fingerprint:
    """Describe models and optimizers.

    Learning rates are included for the report, not compared: they are variables and restored
    with all others. The last digest of a layer ignores automatic names; older versions lack it.

    Args:
        names: their automatic names, if they are known.
    """
    if names is None:
        names = auto_names.of_models(models, optimizers.values())
    layers = []
    for model in models:
        for layer in model._flatten_layers(include_self=False, recursive=True):
            config = _config(layer)
            plain = auto_names.without_numbers(config, names)
            layers.append([type(layer).__name__, layer.name, _digest(config), _digest(plain)])
    return {
        "keras": internals.keras.__version__,
        "backend": internals.BACKEND,
        "model": "".join(type(model).__name__ for model in models),
        "layers": layers,
        "auto_names": names,
        "optimizers": {
            name: [type(optimizer).__name__, _readable(_config(optimizer))]
            for name, optimizer in optimizers.items()
        },
        "rates": rates(optimizers),
    }


def merged(parts: list[Fingerprint]) -> Fingerprint:
    """Merge the fingerprints of components, and their plans."""
    joined: Fingerprint = {}
    plan: Json = {}
    for part in parts:
        joined |= part
        plan |= part.get("plan", {})
    return joined | {"plan": plan}


def compare(now: Fingerprint, saved: Fingerprint) -> str | None:
    """Name the first difference between two fingerprints; None if they are equal."""
    return compare_layers(now, saved) or next(other_differences(now, saved), None)


def compare_layers(now: Fingerprint, saved: Fingerprint) -> str | None:
    """Name the first difference between the layers of two fingerprints.

    Another version of Keras may write other settings of the same layer: there these do not count,
    and :func:`not_compared` names them.
    """
    backend, earlier = now.get("backend"), saved.get("backend")  # older ones have none
    if None not in (backend, earlier) and backend != earlier:
        return f"the backend of Keras was {earlier} and is {backend}"
    other_keras = _has_other_keras(now, saved)
    before, after = len(saved.get("layers", [])), len(now["layers"])
    count = "" if before == after else f"the model had {before} layers and has {after}: "
    for old, layer in zip(saved.get("layers", []), now["layers"], strict=False):
        if old[0] != layer[0]:
            return f"{count}the layer {old[1]} was a {old[0]}, and {layer[1]} is a {layer[0]}"
        if not other_keras and not _is_same_config(old, layer):
            return f"{count}the settings of the layer {layer[1]} ({layer[0]}) have changed"
    if count:
        more = (saved.get("layers", []) if before > after else now["layers"])[min(before, after)]
        return f"{count}{more[1]} ({more[0]}) is {'gone' if before > after else 'new'}"
    return None


def other_differences(now: Fingerprint, saved: Fingerprint) -> Iterator[str]:
    """Name the differences between the optimizers and plans of two fingerprints."""
    other_keras = _has_other_keras(now, saved)
    for name, (kind, config) in saved.get("optimizers", {}).items():
        if name not in now["optimizers"]:
            yield f"the {name} {kind} is gone"
            continue
        now_kind, now_config = now["optimizers"][name]
        if kind != now_kind:
            yield f"the {name} was {kind} and is {now_kind}"
            continue
        for key, value in config.items():
            if key == RATE and _is_number(value) and _is_number(now_config.get(key)):
                continue
            if other_keras and key not in now_config:
                continue
            if value in _UNREAD:
                continue
            if now_config.get(key) != value:
                yield f"{key} of the {name} was {value} and is {now_config.get(key)}"
    for key, value in saved.get("plan", {}).items():
        if now["plan"].get(key) != value:
            yield f"{key} was {value} and is {now['plan'].get(key)}"


def changed_optimizers(now: Fingerprint, saved: Fingerprint) -> list[str]:
    """List the optimizers that are of another class, or have other settings than a rate."""
    settings = changed_settings(now, saved)
    return [*replaced_optimizers(now, saved), *(name for name, keys in settings.items() if keys)]


def replaced_optimizers(now: Fingerprint, saved: Fingerprint) -> list[str]:
    """List the optimizers that are of another class."""
    then = saved.get("optimizers", {})
    return [
        name
        for name, (kind, _) in now["optimizers"].items()
        if name in then and then[name][0] != kind
    ]


def not_compared(now: Fingerprint, saved: Fingerprint) -> list[Caveat]:
    """Name the layers whose settings two versions of Keras write differently."""
    if not _has_other_keras(now, saved):
        return []
    pairs = zip(saved.get("layers", []), now["layers"], strict=False)
    names = [f"{new[1]} ({new[0]})" for old, new in pairs if not _is_same_config(old, new)]
    if not names:
        return []
    what = (
        f"Keras was {saved['keras']} and is {now['keras']}: settings of {few(names, 3)} are not "
        "compared"
    )
    return [
        Caveat(what, "see whether the repeated steps are identical, or install the earlier one")
    ]


def _has_other_keras(now: Fingerprint, saved: Fingerprint) -> bool:
    return saved.get("keras", now["keras"]) != now["keras"]


def _is_same_config(old: list[str], layer: list[str]) -> bool:
    """Compare the digests of settings: the plain ones, or those without automatic names."""
    return old[2] == layer[2] or (len(old) > 3 and old[3] == layer[3])


def refuse(found: str) -> StateMismatch:
    """Build the error for a difference that :func:`compare` or a component found."""
    return StateMismatch(
        f"The script has changed since the checkpoint was made: {found}.", hint=CHANGED_HINT
    )


def rates(optimizers: dict[str, Any]) -> dict[str, float]:
    """Return the current learning rate of each optimizer without a schedule."""
    return {
        name: float(f"{float(value_of(components(variable)[0])):.7g}")
        for name in optimizers
        for variable in setting_variables(optimizers, {name: [RATE]})
    }


def setting_variables(
    optimizers: dict[str, Any], settings: Mapping[str, Collection[str]]
) -> list[Any]:
    """List the variables that are settings of these names, by optimizer.

    Older optimizers of legacy Keras have settings such as a momentum in variables.
    """
    return [
        variable
        for name, wanted in settings.items()
        for variable in internals.optimizer_variables(optimizers[name])
        if _setting(variable.name) in wanted
    ]


def _setting(name: str) -> str:
    """Return the name of a setting; that of a slot, such as `SGD/dense/kernel/momentum`, is none.

    A setting is `learning_rate`, `learning_rate:0`, or `SGD/learning_rate:0`.
    """
    parts = name.partition(":")[0].split("/")
    return parts[-1] if len(parts) <= 2 else ""


def changed_settings(now: Fingerprint, saved: Fingerprint) -> dict[str, list[str]]:
    """List the settings of each optimizer of the same class that differ, without its rate."""
    then = saved.get("optimizers", {})
    return {
        name: [
            key
            for key, value in config.items()
            if key != RATE and old.get(key) != value and old.get(key) not in _UNREAD
        ]
        for name, (kind, config) in now["optimizers"].items()
        if name in then and then[name][0] == kind
        for old in [then[name][1]]
    }


def unused_rates(
    now: dict[str, float], saved: dict[str, float], restored: dict[str, float]
) -> list[str]:
    """Name each learning rate of the script that training does not use.

    Args:
        now: rates that the script set in this attempt.
        saved: rates that it set when the stage began; these are not reported.
        restored: rates restored from the checkpoint.
    """
    return [
        f"the learning rate of the {name} is {rate:g} in the script, but training uses "
        f"{restored[name]:g} from the checkpoint"
        for name, rate in now.items()
        if name in restored and rate not in (restored[name], saved.get(name))
    ]


def _config(thing: Any) -> Any:
    return layer_attributes.config_of(thing)


def _readable(config: Any) -> dict[str, Any]:
    """Return settings as short texts; empty if the object has no settings."""
    if not isinstance(config, dict):
        return {}
    return {key: _ENCODE(_short(value))[:200] for key, value in config.items() if key != "name"}


def _short(value: Any) -> Any:
    """Round a float, so that a float32 written as 0.001 reads 0.001."""
    if isinstance(value, np.generic):
        value = value.item()  # of an older optimizer of legacy Keras
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _is_number(text: Any) -> bool:
    """Return whether a setting from :func:`_readable` is a plain number."""
    try:
        return isinstance(json.loads(text), int | float)
    except (TypeError, ValueError):
        return False


def _digest(config: Any) -> str:
    return hashlib.sha256(_ENCODE(config).encode()).hexdigest()[:16]


def _by_type(value: Any) -> str:
    # not repr: it may contain an address, which differs between processes
    return f"<{type(value).__name__}>"


# made once: each setting of each finished stage is a text
_ENCODE: Final = json.JSONEncoder(default=_by_type, sort_keys=True).encode
