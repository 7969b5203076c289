"""Capture and restore variables of models, optimizers and metrics, by position.

Under a `tf.distribute` strategy a variable has a component on each replica; all of them
are saved, since metrics and seed states differ between replicas.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.bytecode.per_object import PerObject
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.weights import raw_arrays
from rekindle.jobs.weights.auto_names import Renaming
from rekindle.jobs.weights.device_copies import DeviceCopies
from rekindle.jobs.weights.layer_attributes import Attributes, held_in
from rekindle.state.errors import StateMismatch

Groups = dict[str, list[Any]]

CHANGED_HINT: Final = (
    "Restore the code of the earlier attempts, or accept the change with `rekindle retry "
    "JOB --allow-change`, or start over with `--from-scratch`."
)
_UNREADABLE: Final = frozenset({"variant", "resource"})
_OF_TENSORFLOW: Final = frozenset({"tensorflow", "none"})
"""Backends whose variables are those of TensorFlow, or which have none."""
_AS_THEY_ARE: Final = Renaming({}, {})


class Descriptions:
    """Describe variables, each once: path, shape and type stay the same while it lives.

    Attributes:
        unreadable: paths of variables whose values cannot be read.
    """

    def __init__(self) -> None:
        self.unreadable: dict[str, None] = {}
        self._known: PerObject[list[Any]] = PerObject()

    def of(self, variable: Any) -> list[Any]:
        """Return path, shape and type."""
        return self._known.get(variable) or self._known.put(variable, _describe(variable))

    def readable(self, groups: Groups) -> Groups:
        """Leave out variables whose values cannot be read; forget those that are gone."""
        self._known.begin()
        kept: Groups = {}
        for group, variables in groups.items():
            kept[group] = []
            for one in variables:
                path, _, dtype = self.of(one)
                if dtype in _UNREADABLE:
                    self.unreadable[path] = None
                else:
                    kept[group].append(one)
        return kept


class Listing(NamedTuple):
    """Return variables in groups.

    Attributes:
        every: all that training changes.
        listed: those that Keras lists itself; quicker.
    """

    every: Callable[[], Groups]
    listed: Callable[[], Groups]


def of_model(model: Any, attributes: Attributes) -> Groups:
    """Return all variables that training changes, in groups, each in an order fixed by the script.

    Groups: ``model`` (weights, statistics, seed states of layers), ``metrics``, ``buffers`` (of
    modules of PyTorch), ``optimizer``, for each further optimizer that is an attribute of the model
    ``optimizer.<attribute>``, ``plain`` and ``untracked``: see the functions of these names.
    """
    groups = listed(model)
    attributes.begin()
    if kept := plain(model, groups, attributes):
        groups["plain"] = kept
    if hidden := untracked(model, groups, attributes):
        groups["untracked"] = hidden
    return groups


def listed(model: Any) -> Groups:
    """Return the variables that Keras lists itself; the others take a walk over all layers."""
    groups: Groups = {
        "model": internals.model_variables(model),
        "metrics": internals.metrics_variables(model),
    }
    if found := internals.buffers(model):
        groups["buffers"] = found
    for name, optimizer in optimizers(model).items():
        groups[name] = internals.optimizer_variables(optimizer)
    return groups


def plain(model: Any, known: Groups, attributes: Attributes) -> list[Any]:
    """List the TensorFlow variables in attributes of layers, which Keras 3 does not list.

    Args:
        known: variables that are listed already.
        attributes: lists those of a layer.
    """
    variable = tf.Variable  # looked up once: each attribute of each layer is compared
    found: list[Any] = []
    seen = {identity_of(one) for group in known.values() for one in group}

    def look(value: Any) -> None:
        if isinstance(value, variable):
            seen.add(identity_of(value))
            found.append(value)
            return
        for item in held_in(value, seen):
            look(item)

    for layer in model._flatten_layers():
        for name, value in attributes.of(layer):
            if not name.startswith("_") and identity_of(value) not in seen:
                look(value)
    return found


def untracked(model: Any, known: Groups, attributes: Attributes) -> list[Any]:
    """List variables in attributes of layers that neither Keras nor :func:`plain` lists.

    Keras leaves out those of a stateful RNN, TensorFlow those in a `tf.Module` or behind an
    underscore.

    Args:
        known: variables that are listed already.
        attributes: lists those of a layer.
    """
    variable, module = (*internals.KERAS_VARIABLES, tf.Variable), tf.Module
    found: list[Any] = []
    listed = {identity_of(one) for group in known.values() for one in group}
    seen: set[int] = set()

    def look(value: Any) -> None:
        if isinstance(value, variable):
            if not seen:  # not before one is met that is not listed itself
                seen.update(map(identity_of, components_of(v for g in known.values() for v in g)))
                seen.update(map(identity_of, internals.settings(model)))
            mine = [identity_of(component) for component in components(value)]
            if not seen.issuperset(mine):
                seen.update(mine)
                found.append(value)
            return
        if isinstance(value, module) and not isinstance(value, internals.keras.layers.Layer):
            value = value.variables
        for item in held_in(value, listed):
            look(item)

    for layer in model._flatten_layers():
        for name, value in attributes.of(layer):
            if name not in ("_optimizer", "optimizer") and identity_of(value) not in listed:
                look(value)
    return found


def optimizers(model: Any) -> dict[str, Any]:
    """Return the compiled optimizer, and those that are attributes of the model."""
    found: dict[str, Any] = {}
    kind = internals.OPTIMIZERS  # looked up once: each attribute of the model is compared
    if isinstance(getattr(model, "optimizer", None), kind):
        found["optimizer"] = model.optimizer
    own = {name: value for name, value in vars(model).items() if isinstance(value, kind)}
    for name in sorted(own):
        if not any(own[name] is known for known in found.values()):
            found[f"optimizer.{name}"] = own[name]
    return found


def are_all_there(model: Any) -> bool:
    """Return whether every layer and optimizer has created its variables."""
    return all(layer.built for layer in model._flatten_layers()) and all(
        internals.is_optimizer_built(optimizer) for optimizer in optimizers(model).values()
    )


def capture(
    groups: Groups,
    tensors: Tensors,
    known: Descriptions | None = None,
    *,
    copies: DeviceCopies | None = None,
) -> dict[str, list[list[Any]]]:
    """Put all values into ``tensors``; return path, shape and type of each.

    Training never changes the arrays: it may continue while they are written.

    Args:
        known: descriptions of earlier captures.
        copies: of large variables on an accelerator makes copies there instead.
    """
    known = known or Descriptions()
    described: dict[str, list[list[Any]]] = {}
    for group, variables in groups.items():
        entries = []
        for index, variable in enumerate(variables):
            for replica, component in enumerate(components(variable)):
                found: Any = copies and raw_arrays.copy_on_device(component, copies)
                if found is None:
                    found = raw_arrays.packed(raw_arrays.value_of(component))
                tensors[_key(group, index, replica)] = found
            entries.append(known.of(variable))
        described[group] = entries
    if copies is not None:
        copies.made()
    return described


def capture_numbers(groups: Groups, tensors: Tensors) -> None:
    """Put the values of variables of one number into ``tensors``."""
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            if _shape(variable) == []:
                for replica, component in enumerate(components(variable)):
                    array = raw_arrays.value_of(component)
                    tensors[_key(group, index, replica)] = raw_arrays.packed(array)


def difference(
    groups: Groups, saved: dict[str, list[list[Any]]], *, names: Renaming = _AS_THEY_ARE
) -> str | None:
    """Name the first difference between existing and saved variables.

    Args:
        names: compares paths whatever the automatic names in them.
    """
    for group, entries in saved.items():
        here = [_describe(v) for v in groups.get(group, [])]
        for index, (path, shape, dtype) in enumerate(entries):
            if index >= len(here):
                return f"the {group} variable {path} of the checkpoint does not exist now"
            now_path, now_shape, now_dtype = here[index]
            if now_shape != shape:
                return (
                    f"the {group} variable {path} has shape {_words(shape)} in the checkpoint "
                    f"and {now_path} has {_words(now_shape)} now"
                )
            if now_dtype != dtype:
                return (
                    f"the {group} variable {path} is {dtype} in the checkpoint and {now_dtype} now"
                )
            if not _is_same_place(path, now_path, names):
                return f"the {group} variable {path} of the checkpoint is {now_path} now"
        if len(here) > len(entries):
            return f"the {group} variable {here[len(entries)][0]} is not in the checkpoint"
    for group, variables in groups.items():
        if group not in saved and variables and not group.startswith("untracked"):
            return f"the checkpoint has no {group} variables"
    return None


def restore(
    groups: Groups,
    saved: dict[str, list[list[Any]]],
    tensors: Tensors,
    *,
    only: Iterable[str] | None = None,
    lenient: bool = False,
    names: Renaming = _AS_THEY_ARE,
    checked: bool = False,
    partial: bool = False,
) -> None:
    """Restore saved values, by position.

    Args:
        only: names of groups to restore; all by default.
        lenient: skip what does not fit (a change that was allowed).
        names: as in :func:`difference`.
        checked: they were compared with the existing ones and do not differ.
        partial: leave variables alone of which there is no array.

    Raises:
        StateMismatch: variables differ in number, path, shape or type.
    """
    wanted = saved if only is None else {name: saved[name] for name in only if name in saved}
    if not (lenient or checked):
        found = difference({name: groups.get(name, []) for name in wanted}, wanted, names=names)
        if found is not None:
            raise StateMismatch(
                f"The checkpoint does not fit the model: {found}.", hint=CHANGED_HINT
            )
    for group, entries in wanted.items():
        for index, (path, shape, _dtype) in enumerate(entries):
            if lenient:
                variable = _at(path, groups.get(group, []), names)
                if variable is None or _shape(variable) != shape:
                    continue
            else:
                variable = groups[group][index]
            for replica, component in enumerate(components(variable)):
                array = tensors.get(_key(group, index, replica))
                if array is None and partial:
                    continue
                if array is None:
                    raise StateMismatch(
                        f"The checkpoint has fewer replicas ({replica}) than this attempt.",
                        hint="Train with the same number of devices in every attempt.",
                    )
                raw_arrays.assign(component, _typed(array, component))


def mapped() -> tuple[str, ...]:
    """Return how the names of arrays begin that a restore copies: those of TensorFlow's variables.

    JAX may keep such an array as the value of a variable.
    """
    return ("model/", "optimizer") if internals.BACKEND in _OF_TENSORFLOW else ()


def keys(groups: Groups, tensors: Tensors) -> list[tuple[str, Any]]:
    """List the key among the arrays and the variable of each captured one, of the first replica."""
    return [
        (key, variable)
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
        if (key := _key(group, index, 0)) in tensors
    ]


def _describe(variable: Any) -> list[Any]:
    return [path_of(variable), _shape(variable), dtype_of(variable)]


def _shape(variable: Any) -> list[int | None] | None:
    """Return the sizes of a variable, None for one that may change; None for any shape."""
    shape = variable.shape
    if getattr(shape, "rank", 0) is None:
        return None
    return [None if size is None else int(size) for size in shape]


def _words(shape: list[int | None] | None) -> str:
    return "any" if shape is None else str(tuple(shape))


def dtype_of(variable: Any) -> str:
    """Return the name of the type of a variable."""
    dtype = variable.dtype
    return str(getattr(dtype, "name", dtype))


def path_of(variable: Any) -> str:
    """Return the path of a variable; that of legacy Keras is its name."""
    return str(getattr(variable, "path", None) or variable.name)


def _is_same_place(then: str, now: str, names: Renaming) -> bool:
    """Return whether two paths name the same variable.

    Paths of a model created by ``load_model`` lack the name of the model in front.
    """
    if then == now:
        return True
    then, now = names.canonical(then, now)
    if then == now:
        return True
    short, long = sorted((then, now), key=len)
    if long.endswith(f"/{short}"):
        return True
    # an optimizer's path, e.g. adam/sequential_dense_kernel_momentum
    (scope, _, name), (long_scope, _, long_name) = short.partition("/"), long.partition("/")
    return bool(name) and scope == long_scope and long_name.endswith(f"_{name}")


def _at(path: str, variables: list[Any], names: Renaming) -> Any:
    """Find the variable of this path, or the only one that matches it; else None."""
    exact = [
        variable for variable in variables if len({*names.canonical(path, path_of(variable))}) == 1
    ]
    found = exact or [
        variable for variable in variables if _is_same_place(path, path_of(variable), names)
    ]
    return found[0] if exact or len(found) == 1 else None


def components_of(variables: Iterable[Any]) -> list[Any]:
    """List the TensorFlow variables of several Keras variables."""
    return [component for variable in variables for component in components(variable)]


def components(variable: Any) -> list[Any]:
    """Return the TensorFlow variables of a Keras one: one, or one for each replica.

    On another backend that is the Keras variable itself.
    """
    if internals.BACKEND not in _OF_TENSORFLOW:
        return [variable]
    value = getattr(variable, "_value", variable)
    values = getattr(value, "values", None)
    return list(values) if isinstance(values, tuple) else [value]


def _typed(array: np.ndarray[Any, Any], component: Any) -> np.ndarray[Any, Any]:
    return raw_arrays.unpacked(array, raw_arrays.numpy_type(component))


@functools.lru_cache(maxsize=1 << 15)
def _key(group: str, index: int, replica: int) -> str:
    return f"{group}/{index:05d}" + (f"/r{replica}" if replica else "")
