"""Variables of a model and everything around it, to arrays and back, by position.

Under a `tf.distribute` strategy a variable has a component on each replica; all of them
are kept, since metrics and seed states differ from replica to replica.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, Final

import keras
import numpy as np

from rekindle.jobs.capture.codec import Tensors
from rekindle.state.errors import StateMismatch

Groups = dict[str, list[Any]]

_RATE: Final = "learning_rate"
_SEED_NUMBER: Final = re.compile(r"(?<=seed_generator)_\d+(?=/)")

_HINT = (
    "Go back to the code of the earlier attempts, or accept the change with `rekindle retry "
    "JOB --allow-change`, or begin anew with `--from-scratch`."
)


def of_model(model: Any) -> Groups:
    """All variables that training changes, in groups, each in an order fixed by the script.

    Groups: ``model`` (weights, statistics, seed states of layers), ``metrics``,
    ``optimizer``, for each further optimizer that is an attribute of the model
    ``optimizer.<attribute>``, and ``plain``: variables of TensorFlow that layers keep as
    attributes, which Keras does not count as theirs.
    """
    groups: Groups = {"model": list(model.variables), "metrics": list(model.metrics_variables)}
    for name, optimizer in optimizers(model).items():
        groups[name] = list(optimizer.variables)
    plain = _plain(model)
    if plain:
        groups["plain"] = plain
    return groups


def _plain(model: Any) -> list[Any]:
    import tensorflow as tf

    found: list[Any] = []
    seen: set[int] = set()

    def look(value: Any) -> None:
        if isinstance(value, tf.Variable):
            if id(value) not in seen:
                seen.add(id(value))
                found.append(value)
        elif isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)

    for layer in model._flatten_layers():
        for name, value in sorted(vars(layer).items()):
            if not name.startswith("_"):
                look(value)
    return found


def optimizers(model: Any) -> dict[str, Any]:
    """The compiled optimizer, and those a custom ``train_step`` keeps as attributes."""
    found: dict[str, Any] = {}
    if isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
        found["optimizer"] = model.optimizer
    for name, value in sorted(vars(model).items()):
        if isinstance(value, keras.optimizers.Optimizer) and not any(
            value is known for known in found.values()
        ):
            found[f"optimizer.{name}"] = value
    return found


def are_all_there(model: Any) -> bool:
    """Whether every layer and optimizer has made its variables."""
    return all(layer.built for layer in model._flatten_layers()) and all(
        optimizer.built for optimizer in optimizers(model).values()
    )


def capture(groups: Groups, tensors: Tensors) -> dict[str, list[list[Any]]]:
    """Copies all values into ``tensors`` and returns what they are: path, shape, type each.

    The arrays are copies: training may go on while they are written.
    """
    described: dict[str, list[list[Any]]] = {}
    for group, variables in groups.items():
        entries = []
        for index, variable in enumerate(variables):
            for replica, component in enumerate(components(variable)):
                array = np.array(component.numpy(), order="C", copy=True)
                tensors[_key(group, index, replica)] = array
            entries.append(_describe(variable))
        described[group] = entries
    return described


def difference(
    groups: Groups, saved: dict[str, list[list[Any]]], *, renumbered: bool = False
) -> str | None:
    """The first difference between variables that are there and those saved, in words.

    Args:
        renumbered: seed generators may have other numbers in their names.
    """
    for group, entries in saved.items():
        here = [_describe(v) for v in groups.get(group, [])]
        for index, (path, shape, dtype) in enumerate(entries):
            if index >= len(here):
                return f"the {group} variable {path} of the checkpoint does not exist now"
            now_path, now_shape, now_dtype = here[index]
            if now_shape != shape:
                return (
                    f"the {group} variable {path} has shape {tuple(shape)} in the checkpoint "
                    f"and {now_path} has {tuple(now_shape)} now"
                )
            if now_dtype != dtype:
                return (
                    f"the {group} variable {path} is {dtype} in the checkpoint and {now_dtype} now"
                )
            if not _is_same_place(path, now_path, renumbered=renumbered):
                return f"the {group} variable {path} of the checkpoint is {now_path} now"
        if len(here) > len(entries):
            return f"the {group} variable {here[len(entries)][0]} is not in the checkpoint"
    for group, variables in groups.items():
        if group not in saved and variables:
            return f"the checkpoint has no {group} variables"
    return None


def restore(
    groups: Groups,
    saved: dict[str, list[list[Any]]],
    tensors: Tensors,
    *,
    only: Iterable[str] | None = None,
    lenient: bool = False,
    renumbered: bool = False,
) -> None:
    """Puts saved values back, by position.

    Args:
        only: names of groups to restore; all by default.
        lenient: pass over what does not fit (a change that was allowed).
        renumbered: as in :func:`difference`.

    Raises:
        StateMismatch: variables differ in number, path, shape or type.
    """
    wanted = saved if only is None else {name: saved[name] for name in only if name in saved}
    if not lenient:
        found = difference(
            {name: groups.get(name, []) for name in wanted}, wanted, renumbered=renumbered
        )
        if found is not None:
            raise StateMismatch(f"The checkpoint does not fit the model: {found}.", hint=_HINT)
    for group, entries in wanted.items():
        for index, (path, shape, _dtype) in enumerate(entries):
            if lenient:
                variable = _at(path, groups.get(group, []))
                if variable is None or list(variable.shape) != list(shape):
                    continue
            else:
                variable = groups[group][index]
            for replica, component in enumerate(components(variable)):
                array = tensors.get(_key(group, index, replica))
                if array is None:
                    raise StateMismatch(
                        f"The checkpoint was made with fewer replicas ({replica}).",
                        hint="Train with the same number of devices in every attempt.",
                    )
                component.assign(_typed(array, component))


def non_finite(groups: Groups, tensors: Tensors) -> str | None:
    """The path of the first variable of model or optimizer that holds NaN or infinity."""
    for group, variables in groups.items():
        if group in ("metrics", "plain"):
            continue  # what a script keeps for itself may well begin at infinity
        for index, variable in enumerate(variables):
            array = tensors[_key(group, index, 0)]
            if array.dtype.kind == "V":
                array = array.astype(np.float32)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return _path(variable)
    return None


def fingerprint(model: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every attempt: layers, optimizer, loss, and ``plan``.

    ``plan`` describes data and arguments of ``fit``, as JSON values. Learning rates are noted
    to be told, not compared: they are variables, and put back with all others.
    """
    layers = [
        [type(layer).__name__, layer.name, _digest(_config(layer))]
        for layer in model._flatten_layers(include_self=False, recursive=True)
    ]
    return {
        "model": type(model).__name__,
        "layers": layers,
        "optimizers": {
            name: [type(o).__name__, _readable(_config(o))] for name, o in optimizers(model).items()
        },
        "rates": rates(model),
        "plan": plan,
    }


def compare(now: dict[str, Any], saved: dict[str, Any]) -> str | None:
    """The first difference between two fingerprints, in words, or None."""
    before, after = len(saved.get("layers", [])), len(now["layers"])
    count = "" if before == after else f"the model had {before} layers and has {after}: "
    for name, layer in zip(saved.get("layers", []), now["layers"], strict=False):
        if name[0] != layer[0]:
            return f"{count}the layer {name[1]} was a {name[0]}, and {layer[1]} is a {layer[0]}"
        if name[2] != layer[2]:
            return f"{count}the settings of the layer {layer[1]} ({layer[0]}) have changed"
    if count:
        more = (saved.get("layers", []) if before > after else now["layers"])[min(before, after)]
        return f"{count}{more[1]} ({more[0]}) is {'gone' if before > after else 'new'}"
    for name, (kind, config) in saved.get("optimizers", {}).items():
        if name not in now["optimizers"]:
            return f"the {name} {kind} is gone"
        now_kind, now_config = now["optimizers"][name]
        if kind != now_kind:
            return f"the {name} was {kind} and is {now_kind}"
        for key, value in config.items():
            if key == _RATE and _is_number(value) and _is_number(now_config.get(key)):
                continue
            if now_config.get(key) != value:
                return f"{key} of the {name} was {value} and is {now_config.get(key)}"
    for key, value in saved.get("plan", {}).items():
        if now["plan"].get(key) != value:
            return f"{key} was {value} and is {now['plan'].get(key)}"
    return None


def rates(model: Any) -> dict[str, float]:
    """The learning rate of each optimizer as it is now, where no schedule makes it."""
    return {
        name: float(f"{float(components(variable)[0].numpy()):.7g}")
        for name, optimizer in optimizers(model).items()
        for variable in optimizer.variables
        if variable.name == _RATE
    }


def unused_rates(
    now: dict[str, float], saved: dict[str, float], restored: dict[str, float]
) -> list[str]:
    """In words, each learning rate of the script that training does not go on with.

    Args:
        now: what the script has set in this attempt.
        saved: what it had set when the stage began: silently passed over again.
        restored: what the checkpoint has put back.
    """
    return [
        f"the learning rate of the {name} is {rate:g} in the script, and {restored[name]:g} "
        "of the checkpoint goes on"
        for name, rate in now.items()
        if name in restored and rate not in (restored[name], saved.get(name))
    ]


def refuse(found: str) -> StateMismatch:
    """The error for a difference that :func:`compare` or another check found."""
    return StateMismatch(
        f"The script has changed since the checkpoint was made: {found}.", hint=_HINT
    )


def _describe(variable: Any) -> list[Any]:
    return [_path(variable), [int(d) for d in variable.shape], str(variable.dtype)]


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", None) or variable.name)


def seeds_in(saved: dict[str, list[list[Any]]]) -> int:
    """How many of the saved variables are states of the model's seed generators."""
    return sum("seed_generator" in path for path, _, _ in saved["model"])


def _is_same_place(then: str, now: str, *, renumbered: bool = False) -> bool:
    """Whether two paths name the same variable.

    A model that ``load_model`` has made has not its own name in front of the paths.
    """
    if renumbered:
        then, now = (_SEED_NUMBER.sub("", path) for path in (then, now))
    if then == now:
        return True
    short, long = sorted((then, now), key=len)
    if long.endswith(f"/{short}"):
        return True
    # of an optimizer: adam/sequential_dense_kernel_momentum
    (scope, _, name), (long_scope, _, long_name) = short.partition("/"), long.partition("/")
    return bool(name) and scope == long_scope and long_name.endswith(f"_{name}")


def _at(path: str, variables: list[Any]) -> Any:
    """The variable of this path, or the only one that may be meant by it, or None."""
    exact = [variable for variable in variables if _path(variable) == path]
    found = exact or [variable for variable in variables if _is_same_place(path, _path(variable))]
    return found[0] if exact or len(found) == 1 else None


def components(variable: Any) -> list[Any]:
    """The TensorFlow variables behind a Keras one: one, or one for each replica."""
    value = getattr(variable, "_value", variable)
    values = getattr(value, "values", None)
    return list(values) if isinstance(values, tuple) else [value]


def _typed(array: np.ndarray[Any, Any], component: Any) -> np.ndarray[Any, Any]:
    wanted = component.dtype.as_numpy_dtype
    return array if array.dtype == wanted else array.view(wanted)


def _key(group: str, index: int, replica: int) -> str:
    return f"{group}/{index:05d}" + (f"/r{replica}" if replica else "")


def _config(thing: Any) -> Any:
    try:
        return thing.get_config()
    except Exception:
        return None  # custom layers need not have one


def _readable(config: Any) -> dict[str, Any]:
    """Settings as short texts; none where the object cannot give them."""
    if not isinstance(config, dict):
        return {}
    return {
        key: json.dumps(_short(value), default=_by_type, sort_keys=True)[:200]
        for key, value in config.items()
        if key != "name"
    }


def _short(value: Any) -> Any:
    """A float32 that was 0.001 in the script, as 0.001."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _is_number(text: Any) -> bool:
    """Whether a setting is a plain number, as :func:`_readable` writes it."""
    try:
        return isinstance(json.loads(text), int | float)
    except (TypeError, ValueError):
        return False


def _digest(config: Any) -> str:
    text = json.dumps(config, default=_by_type, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_type(value: Any) -> str:
    # a repr may hold an address, which differs from process to process
    return f"<{type(value).__name__}>"
