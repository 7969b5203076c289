"""Functions of Keras that exact resume rests on, and which of them are known.

:data:`rekindle.jobs.keras_compat.known.KNOWN` has their digests in each tested version. Functions
are named by module (below ``keras.src``) and qualified name.
"""

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs.keras_compat import digests
from rekindle.jobs.keras_compat.keras_support import LOOP, Release, release
from rekindle.jobs.keras_compat.known import JAX_TESTED, KNOWN, LEGACY_TESTED, TESTED, TORCH_TESTED

ARRAYS: Final = "arrays"
GENERATORS: Final = "generators"
PY_DATASETS: Final = "PyDatasets"
DATASETS: Final = "tf.data datasets"
LOADERS: Final = "DataLoaders"

_TRAINER: Final = "backend.tensorflow.trainer:TensorFlowTrainer"
_ADAPTERS: Final = "trainers.data_adapters"
_ENQUEUER: Final = f"{_ADAPTERS}.py_dataset_adapter:"

_BASE_LOOP: Final = (
    *(
        f"trainers.epoch_iterator:EpochIterator.{name}"
        for name in (
            "__init__",
            "reset",
            "_enumerate_iterator",
            "__iter__",
            "catch_stop_iteration",
            "num_batches",
        )
    ),
    *(
        f"trainers.trainer:Trainer.{name}"
        for name in ("_symbolic_build", "_get_metrics_result_or_logs", "_should_eval")
    ),
    *(
        f"callbacks.callback_list:CallbackList.{name}"
        for name in ("on_train_begin", "on_epoch_begin", "on_epoch_end")
    ),
)
"""Functions of Keras 3 that ``fit`` of each backend rests on."""


def _groups(loop: tuple[str, ...], reads: str, arrays: tuple[str, ...]) -> dict[str, Any]:
    """Name the functions of a backend.

    Args:
        loop: its own, of the training loop.
        reads: the method of adapters that gives it batches.
        arrays: methods of the adapter of arrays.
    """
    return {
        LOOP: (*loop, *_BASE_LOOP),
        ARRAYS: (
            *(
                f"{_ADAPTERS}.array_data_adapter:ArrayDataAdapter.{name}"
                for name in ("__init__", *arrays, "num_batches", "batch_size")
            ),
            f"{_ADAPTERS}.array_slicing:convert_to_sliceable",
            f"{_ADAPTERS}.array_slicing:train_validation_split",
        ),
        GENERATORS: (
            f"{_ADAPTERS}.generator_data_adapter:peek_and_restore",
            *(
                f"{_ADAPTERS}.generator_data_adapter:GeneratorDataAdapter.{name}"
                for name in ("__init__", reads, "num_batches")
            ),
        ),
        PY_DATASETS: (
            *(
                f"{_ENQUEUER}PyDatasetAdapter.{name}"
                for name in (
                    "__init__",
                    "_get_iterator",
                    "_finite_generator",
                    "_infinite_generator",
                    "_finite_enqueuer_generator",
                    "_infinite_enqueuer_generator",
                    reads,
                    "on_epoch_begin",
                    "on_epoch_end",
                    "num_batches",
                )
            ),
            *(f"{_ENQUEUER}PyDatasetEnqueuer.{name}" for name in ("__init__", "start", "stop")),
            *(f"{_ENQUEUER}OrderedEnqueuer.{name}" for name in ("__init__", "_run", "get")),
        ),
        DATASETS: tuple(
            f"{_ADAPTERS}.tf_dataset_adapter:TFDatasetAdapter.{name}"
            for name in ("__init__", reads, "num_batches")
        ),
    }


def _loaders(reads: str) -> dict[str, tuple[str, ...]]:
    return {
        LOADERS: tuple(
            f"{_ADAPTERS}.torch_data_loader_adapter:TorchDataLoaderAdapter.{name}"
            for name in ("__init__", reads, "num_batches")
        )
    }


GROUPS: Final[Mapping[str, tuple[str, ...]]] = _groups(
    (
        *(
            f"{_TRAINER}.{name}"
            for name in (
                "fit",
                "evaluate",
                "make_train_function",
                "_make_function",
                "_maybe_symbolic_build",
            )
        ),
        *(
            f"backend.tensorflow.trainer:TFEpochIterator.{name}"
            for name in (
                "__init__",
                "_get_iterator",
                "__next__",
                "enumerate_epoch",
                "catch_stop_iteration",
                "tf_sync",
            )
        ),
    ),
    "get_tf_dataset",
    ("get_tf_dataset",),
)
"""Functions by what of a ``fit`` rests on them; LOOP counts for all data."""

JAX_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    **_groups(
        (
            *(
                f"backend.jax.trainer:JAXTrainer.{name}"
                for name in (
                    "fit",
                    "evaluate",
                    "make_train_function",
                    "_make_function",
                    "jax_state_sync",
                    "_get_jax_state",
                )
            ),
            *(
                f"backend.jax.trainer:JAXEpochIterator.{name}"
                for name in (
                    "__next__",
                    "_get_iterator",
                    "_prefetch_numpy_iterator",
                    "_one_batch_ahead_iterator",
                )
            ),
        ),
        "get_jax_iterator",
        ("get_jax_iterator", "_get_iterator"),
    ),
    **_loaders("get_numpy_iterator"),
}
"""The same on JAX."""

TORCH_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    **_groups(
        (
            *(
                f"backend.torch.trainer:TorchTrainer.{name}"
                for name in ("fit", "evaluate", "make_train_function")
            ),
            "backend.torch.trainer:TorchEpochIterator._get_iterator",
            "trainers.epoch_iterator:EpochIterator.__next__",
        ),
        "get_torch_dataloader",
        ("get_torch_dataloader",),
    ),
    **_loaders("get_torch_dataloader"),
}
"""The same on PyTorch."""

_ENGINE: Final = "engine"
_HANDLER: Final = f"{_ENGINE}.data_adapter:DataHandler"

LEGACY_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    LOOP: (
        *(
            f"{_ENGINE}.training:Model.{name}"
            for name in (
                "fit",
                "evaluate",
                "make_train_function",
                "make_test_function",
                "_maybe_load_initial_counters_from_ckpt",
                "_validate_and_get_metrics_result",
                "_should_eval",
                "reset_metrics",
            )
        ),
        *(
            f"{_HANDLER}.{name}"
            for name in (
                "__init__",
                "_configure_dataset_and_inferred_steps",
                "enumerate_epochs",
                "_truncate_execution_to_epoch",
                "catch_stop_iteration",
                "steps",
                "_infer_steps",
            )
        ),
        f"{_ENGINE}.data_adapter:select_data_adapter",
        *(
            f"callbacks:CallbackList.{name}"
            for name in ("on_train_begin", "on_epoch_begin", "on_epoch_end")
        ),
        "backend:RandomGenerator._maybe_init",
        "backend:RandomGenerator._create_seed",
        "optimizers.optimizer:Optimizer.apply_gradients",
        "optimizers.optimizer:Optimizer._build_learning_rate",
        "optimizers.legacy.optimizer_v2:OptimizerV2.apply_gradients",
        "optimizers.legacy.optimizer_v2:OptimizerV2._create_hypers",
    ),
    ARRAYS: tuple(
        f"{_ENGINE}.data_adapter:TensorLikeDataAdapter.{name}"
        for name in ("__init__", "slice_inputs", "should_recreate_iterator")
    ),
    GENERATORS: tuple(
        f"{_ENGINE}.data_adapter:GeneratorDataAdapter.{name}"
        for name in ("__init__", "_handle_multiprocessing", "should_recreate_iterator")
    ),
    PY_DATASETS: (
        *(
            f"{_ENGINE}.data_adapter:KerasSequenceAdapter.{name}"
            for name in (
                "__init__",
                "_handle_multiprocessing",
                "get_size",
                "should_recreate_iterator",
                "on_epoch_end",
            )
        ),
        "utils.data_utils:OrderedEnqueuer._run",
        "utils.data_utils:OrderedEnqueuer.get",
    ),
    DATASETS: tuple(
        f"{_ENGINE}.data_adapter:DatasetAdapter.{name}"
        for name in ("__init__", "get_dataset", "should_recreate_iterator")
    ),
}
"""The same of legacy Keras."""

_RENAMED: Final = {
    "TensorFlowTrainer": ("backend.tensorflow.trainer", "Trainer"),
    "Trainer": ("trainers.trainer", "BaseTrainer"),
}
"""Classes whose name Keras 3.16 changes, with their module and the new name."""
ABSENT: Final = "absent"
"""Stands for the digest of a function that a version of Keras does not have."""


@dataclass(frozen=True, eq=False)
class Table:
    """Name the functions that exact resume rests on, in one Keras of this process.

    Attributes:
        package: its modules are below it.
        groups: functions by what of a ``fit`` rests on them.
        tested: versions whose functions are known.
    """

    package: str
    groups: Mapping[str, tuple[str, ...]]
    tested: tuple[str, ...]


KERAS3: Final[Mapping[str, Table]] = {
    "tensorflow": Table("keras.src", GROUPS, TESTED),
    "jax": Table("keras.src", JAX_GROUPS, JAX_TESTED),
    "torch": Table("keras.src", TORCH_GROUPS, TORCH_TESTED),
}
"""Tables of Keras 3, by backend."""


@functools.cache
def legacy(package: str) -> Table:
    """Return the table of a legacy Keras, by the name of its module."""
    below = f"{package}.src"  # since Keras 2.13
    found = importlib.util.find_spec(below) is not None
    return Table(below if found else package, LEGACY_GROUPS, LEGACY_TESTED)


@functools.cache
def of_group(group: str, table: Table) -> Mapping[str, str]:
    """Digest the functions of a group in the Keras of this process; empty without its source."""
    found = {name: _digest(name, table.package) for name in table.groups[group]}
    return {} if "" in found.values() else found


@functools.cache
def unknown(group: str, table: Table) -> tuple[str, ...]:
    """Name the functions of a group in which it differs from the most similar tested version."""
    found = of_group(group, table)
    differ = [
        tuple(name for name, digest in found.items() if version not in _versions(name, digest))
        for version in table.tested
    ]
    return min(differ, key=len, default=tuple(found))


def has_source(table: Table) -> bool:
    """Return whether the source of Keras is installed; without it only its version counts."""
    return bool(of_group(LOOP, table))


def family(version: str, table: Table) -> Release:
    """Return the release whose training loop this Keras has: a tested one, else its own."""
    found = of_group(LOOP, table)
    if found and not unknown(LOOP, table):
        same = [_versions(name, digest) for name, digest in found.items()]
        return max(map(release, set.intersection(*same)))
    return release(version)


def _versions(name: str, digest: str) -> set[str]:
    return set(KNOWN.get(name, {}).get(digest, "").split())


def _digest(name: str, package: str) -> str:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(f"{package}.{module}")
    except ImportError:
        return ABSENT
    for step in path.split("."):
        # not getattr: a method of a base class is another part
        inside = vars(found)
        renamed = _RENAMED.get(step)
        if step not in inside and renamed is not None and renamed[0] == module:
            found = inside.get(renamed[1])
        else:
            found = inside.get(step)
        if found is None:
            return ABSENT
    return digests.of(found)
