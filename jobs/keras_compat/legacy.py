"""All uses of private parts of legacy Keras: ``tf_keras``, and Keras 2.

The names are those of :mod:`rekindle.jobs.keras_compat.keras3`; what has no counterpart is empty.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import tensorflow as tf

from rekindle.jobs.keras_compat import followed, keras_support, parts
from rekindle.jobs.keras_compat.keras_support import LOOP, Support

keras: Final[Any] = followed.legacy()


_PARTS: Final = parts.legacy(keras.__name__)


def _part(name: str) -> Any:
    return importlib.import_module(f"{_PARTS.package}.{name}")


_training: Final[Any] = _part("engine.training")
data_adapter: Final[Any] = _part("engine.data_adapter")
_backend: Final[Any] = _part("backend")
_tf_utils: Final[Any] = _part("utils.tf_utils")

LEGACY: Final = True
BACKEND: Final = "tensorflow"
TRACES: Final = True
PLAIN_FIT: Final[Callable[..., Any]] = _training.Model.fit
PLAIN_ITERATOR: Final[Any] = data_adapter.get_data_handler
"""Keras' own ``fit``, and what makes the iterators of its epochs, as of the import."""

BaseOptimizer: Final[Any] = _part("optimizers.optimizer").Optimizer
_OlderOptimizer: Final[Any] = _part("optimizers.legacy.optimizer_v2").OptimizerV2
OPTIMIZERS: Final[tuple[Any, ...]] = (BaseOptimizer, _OlderOptimizer)
SEED_GENERATORS: Final[tuple[Any, ...]] = ()
KERAS_VARIABLES: Final[tuple[Any, ...]] = ()
PyDataset: Final[Any] = keras.utils.Sequence
KerasTensor: Final[Any] = _part("engine.keras_tensor").KerasTensor
TFDatasetAdapter: Final[Any] = data_adapter.DatasetAdapter
flatten: Final[Callable[[Any], list[Any]]] = tf.nest.flatten
map_structure: Final[Callable[..., Any]] = tf.nest.map_structure
_OWN: Final = (
    "_obj_reference_counts_dict _auto_get_config _auto_config _trainable_weights "
    "_non_trainable_weights _maybe_load_initial_counters_from_ckpt _call_result update_state "
    "result inputs outputs input_names output_names train_tf_function compiled_loss "
    "compiled_metrics"
)
OWN_NAMES: Final = frozenset(_OWN.split())
"""Attributes in which models, layers and metrics keep what their code makes again."""
HELD_VARIABLES: Final = ("_trainable_weights", "_non_trainable_weights", "_variables", "_weights")
HELD_LAYERS: Final = "_self_tracked_trackables"

GLOBAL_GENERATOR: Final = ""
_PLAIN_SYNC: Final[Callable[[Any], Any]] = _tf_utils.sync_to_numpy_or_python_type
_COUNTERS: Final = "_maybe_load_initial_counters_from_ckpt"
_SCALE: Final = ("_current_loss_scale", "_counter")


def support(groups: Iterable[str] = parts.LEGACY_GROUPS) -> Support:
    """Decide how this Keras is followed.

    Args:
        groups: of functions to look at; a trainer looks at a kind of data once it has any.
    """
    unknown = {group: parts.unknown(group, _PARTS) for group in groups}
    return keras_support.decide_legacy(
        keras.__name__, keras.__version__, unknown=unknown if parts.has_source(_PARTS) else None
    )


def follows(data: Any, targets: Any = None) -> bool:
    """Return whether a ``fit`` with these data can begin at any batch; otherwise at any epoch."""
    if not parts.has_source(_PARTS):
        return keras.__version__ in _PARTS.tested
    group = _group_of(data, targets)
    return (
        group is not None and not parts.unknown(LOOP, _PARTS) and not parts.unknown(group, _PARTS)
    )


def _group_of(data: Any, targets: Any) -> str | None:
    adapter = data_adapter.select_data_adapter(data, targets)
    return {
        data_adapter.TensorLikeDataAdapter: parts.ARRAYS,
        data_adapter.GeneratorDataAdapter: parts.GENERATORS,
        data_adapter.KerasSequenceAdapter: parts.PY_DATASETS,
        data_adapter.DatasetAdapter: parts.DATASETS,
    }.get(adapter)


def draw_from_variables() -> None:
    """Let layers draw from generators whose state is a variable, as Keras 3 does.

    The operations that they use otherwise keep their state where nothing can read it.
    """
    _backend.enable_tf_random_generator()


def generator_of(adapter: Any) -> Callable[[], Iterator[Any]]:
    """Return a function that continues the generator of an adapter."""
    made: Callable[[], Iterator[Any]] = adapter.generator
    return made


def replace_generator(adapter: Any, follow: Callable[[], Iterator[Any]]) -> None:
    """Let an adapter read from ``follow()``."""
    adapter.generator = follow


def start_workers(adapter: Any) -> None:
    """Start nothing: workers begin with the iterator."""


def has_workers(adapter: Any) -> bool:
    """Return whether threads or processes read the ``Sequence`` of an adapter."""
    return bool(adapter.has_workers)


def number_of_batches(dataset: Any) -> int | None:
    """Return the number of batches of a ``Sequence``."""
    return len(dataset)


def replace_fit(fit: Callable[..., Any]) -> Callable[[], None]:
    """Replace ``Model.fit``; return a function that undoes it."""
    _training.Model.fit = fit

    def undo() -> None:
        _training.Model.fit = PLAIN_FIT

    return undo


@contextlib.contextmanager
def epoch_iterator(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``fit`` create its data handlers with ``make``, within the ``with`` block."""
    outer, data_adapter.get_data_handler = data_adapter.get_data_handler, make
    try:
        yield
    finally:
        data_adapter.get_data_handler = outer


@contextlib.contextmanager
def adapters(select: Callable[..., Any]) -> Iterator[None]:
    """Let a data handler select its adapter with ``select``, within the ``with`` block."""
    plain, data_adapter.select_data_adapter = data_adapter.select_data_adapter, select
    try:
        yield
    finally:
        data_adapter.select_data_adapter = plain


def initial_epoch(model: Any) -> int | None:
    """Return the epoch at which Keras' loop begins; None if only the argument counts."""
    counters = vars(model).get(_COUNTERS)
    return None if counters is None else int(counters(None, 0)[0])


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Set the epoch at which Keras' loop begins; it still applies after ``on_train_begin``."""
    if epoch is None:
        model.__dict__.pop(_COUNTERS, None)
        return
    begin = epoch

    def counters(steps_per_epoch: Any, initial_epoch: int) -> tuple[int, int]:
        return begin, 0

    # not setattr: Keras' tracking would add it to the model
    model.__dict__[_COUNTERS] = counters


def is_built(model: Any) -> bool:
    """Return whether a compiled model has created all its variables."""
    optimizer = getattr(model, "optimizer", None)
    containers = (model.compiled_loss, model.compiled_metrics)
    return (
        optimizer is not None
        and all(layer.built for layer in model._flatten_layers())
        and all(part is None or part.built for part in containers)
        and is_optimizer_built(optimizer)
    )


def build(model: Any, data: Any) -> None:
    """Create the variables of a compiled model, its optimizer, loss and metrics.

    A training step is traced, and not run.

    Args:
        data: the iterator over training data.
    """

    def step(batch: Any) -> Any:
        return model.distribute_strategy.run(model.train_step, args=(batch,))

    tf.function(step).get_concrete_function(data.element_spec)


def buffers(model: Any) -> list[Any]:
    """List nothing: only modules of PyTorch have buffers."""
    return []


def seed(number: int) -> None:
    """Seed all generators."""
    keras.utils.set_random_seed(number)


def trace(model: Any, data: Any) -> None:
    """Trace a step without running it: it creates variables that no build knows of."""
    tf.function(model.train_step).get_concrete_function(data.element_spec)


def scope(model: Any) -> Any:
    """Return the context in which a model creates variables."""
    return model.distribute_strategy.scope()


def watch_traces(watched: Callable[[Any], Any]) -> None:
    """Do nothing: the traces of TensorFlow itself are watched."""


def settle(model: Any) -> None:
    """Do nothing: variables always have their values."""


def model_variables(model: Any) -> list[Any]:
    """List weights, statistics and seeds of a model; none before it is built."""
    metrics = {id(variable) for variable in metrics_variables(model)}
    found = [one for one in _once_built(model, "variables") if id(one) not in metrics]
    return found + [one for layer in model._flatten_layers() for one in _seeds(layer)]


def _seeds(layer: Any) -> Iterator[Any]:
    """Yield the states of the random generators that a layer draws from."""
    held = vars(layer).get("_random_generator")
    made = vars(held).get("_generator") if isinstance(held, _backend.RandomGenerator) else None
    if made is not None:
        yield made.state


def settings(model: Any) -> list[Any]:
    """List the variables of a model that hold what it was compiled with, and no state."""
    steps = vars(model).get("_steps_per_execution")
    return [steps] if isinstance(steps, tf.Variable) else []


def trainable_variables(model: Any) -> list[Any]:
    """List the variables that an optimizer changes; none before the model is built."""
    return _once_built(model, "trainable_variables")


def _once_built(model: Any, name: str) -> list[Any]:
    try:
        return list(getattr(model, name))
    except ValueError:  # a Sequential without a shape of its inputs
        return []


def metrics_variables(model: Any) -> list[Any]:
    """List the variables of the compiled metrics of a model."""
    found: dict[int, Any] = {}
    containers = (getattr(model, name, None) for name in ("compiled_loss", "compiled_metrics"))
    # a model may list its own metrics alone: the loss is counted all the same
    of_compiled = [one for part in containers if part is not None for one in part.metrics]
    for metric in (*model.metrics, *of_compiled):
        found.update((id(variable), variable) for variable in metric.variables)
    return list(found.values())


def optimizer_variables(optimizer: Any) -> list[Any]:
    """List all variables of an optimizer, its learning rate and its loss scale included."""
    found: dict[int, Any] = {}
    for variable in _of_optimizer(optimizer):
        found.setdefault(id(variable), variable)
    return list(found.values())


def _of_optimizer(optimizer: Any) -> Iterator[Any]:
    held = vars(optimizer)
    if (inner := held.get("_optimizer")) is not None:  # of mixed precision
        yield from _of_optimizer(inner)
        scale = vars(held.get("_loss_scale") or object)
        yield from (scale[name] for name in _SCALE if isinstance(scale.get(name), tf.Variable))
        return
    if isinstance(optimizer, _OlderOptimizer):
        yield optimizer.iterations
        hyper = held.get("_hyper") or {}
        yield from (hyper[name] for name in sorted(hyper) if isinstance(hyper[name], tf.Variable))
        yield from held.get("_weights") or ()
        return
    yield from optimizer.variables
    # those of its own, e.g. the learning rate, and a product that Nadam keeps
    yield from (held[name] for name in sorted(held) if isinstance(held[name], tf.Variable))


def is_optimizer_built(optimizer: Any) -> bool:
    """Return whether an optimizer has created its variables."""
    optimizer = vars(optimizer).get("_optimizer") or optimizer
    if isinstance(optimizer, _OlderOptimizer):
        return bool(optimizer._hypers_created and len(optimizer._weights) > 0)
    return bool(getattr(optimizer, "_built", False))


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Create the variables of an optimizer."""
    optimizer = vars(optimizer).get("_optimizer") or optimizer
    if isinstance(optimizer, _OlderOptimizer):
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def compiled_parts(model: Any) -> list[tuple[str, Any]]:
    """List optimizer, loss and metrics that a model was compiled with, and a name of each."""
    losses, metrics = (
        getattr(model, "compiled_loss", None),
        getattr(model, "compiled_metrics", None),
    )
    found: list[tuple[str, Any]] = [(".optimizer", getattr(model, "optimizer", None))]
    for label, held in (
        (".loss", getattr(losses, "_user_losses", None)),
        (".metrics", getattr(metrics, "_user_metrics", None)),
        (".weighted_metrics", getattr(metrics, "_user_weighted_metrics", None)),
    ):
        found += [(f"{label}[{index}]", part) for index, part in enumerate(flatten(held))]
    return [
        (label, part) for label, part in found if part is not None and not isinstance(part, str)
    ]


def iterator_arguments(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that ``fit`` would pass to its data handler."""
    data = (arguments["x"], arguments["y"], arguments["sample_weight"])
    if arguments["validation_split"] and not arguments["validation_data"]:
        data, _ = data_adapter.train_validation_split(
            data, validation_split=arguments["validation_split"]
        )
    x, y, weight = data
    same = "batch_size steps_per_epoch initial_epoch epochs shuffle class_weight max_queue_size"
    return {
        "x": x,
        "y": y,
        "sample_weight": weight,
        **{name: arguments[name] for name in (*same.split(), "workers", "use_multiprocessing")},
        "model": model,
        "steps_per_execution": model._steps_per_execution,
    }


def carry_logs(model: Any, logs: dict[str, Any]) -> None:
    """Let ``fit`` use these logs of the last batch in an epoch that is resumed with no batch left.

    Keras' loop keeps them in a variable.
    """
    _tf_utils.sync_to_numpy_or_python_type = lambda found: (
        dict(logs) if found is None and logs else _PLAIN_SYNC(found)
    )


def forget_carried_logs(model: Any) -> None:
    """Remove what :func:`carry_logs` set."""
    _tf_utils.sync_to_numpy_or_python_type = _PLAIN_SYNC


def existing_global_generator() -> Any:
    """Return None: what legacy Keras draws seeds from is :func:`own_random`."""
    return None


def own_random() -> Any:
    """Return the generator of Python that Keras draws seeds from; None before a seed was set."""
    return getattr(_backend._SEED_GENERATOR, "generator", None)


def make_global_generator() -> None:
    """Create nothing."""


def renew_summary_step(callback: Any) -> None:
    """Let a TensorBoard callback write summaries as of its restored batch."""
