"""Functions of Keras that exact resume rests on, and which of them are known.

:data:`rekindle.jobs.keras_compat.known.KNOWN` has their digests in each tested version. Functions
are named by module (below ``keras.src``) and qualified name.
"""

import functools
import importlib
from collections.abc import Mapping
from typing import Any, Final

from rekindle.jobs.keras_compat import digests
from rekindle.jobs.keras_compat.keras_support import LOOP, Release, release
from rekindle.jobs.keras_compat.known import KNOWN, TESTED

ARRAYS: Final = "arrays"
GENERATORS: Final = "generators"
PY_DATASETS: Final = "PyDatasets"
DATASETS: Final = "tf.data datasets"

_TRAINER: Final = "backend.tensorflow.trainer:TensorFlowTrainer"
_ADAPTERS: Final = "trainers.data_adapters"
_ENQUEUER: Final = f"{_ADAPTERS}.py_dataset_adapter:"

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    LOOP: (
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
    ),
    ARRAYS: (
        *(
            f"{_ADAPTERS}.array_data_adapter:ArrayDataAdapter.{name}"
            for name in ("__init__", "get_tf_dataset", "num_batches", "batch_size")
        ),
        f"{_ADAPTERS}.array_slicing:convert_to_sliceable",
        f"{_ADAPTERS}.array_slicing:train_validation_split",
    ),
    GENERATORS: (
        f"{_ADAPTERS}.generator_data_adapter:peek_and_restore",
        *(
            f"{_ADAPTERS}.generator_data_adapter:GeneratorDataAdapter.{name}"
            for name in ("__init__", "get_tf_dataset", "num_batches")
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
                "get_tf_dataset",
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
        for name in ("__init__", "get_tf_dataset", "num_batches")
    ),
}
"""Functions by what of a ``fit`` rests on them; LOOP counts for all data."""

_RENAMED: Final = {
    "TensorFlowTrainer": ("backend.tensorflow.trainer", "Trainer"),
    "Trainer": ("trainers.trainer", "BaseTrainer"),
}
"""Classes whose name Keras 3.16 changes, with their module and the new name."""
ABSENT: Final = "absent"
"""Stands for the digest of a function that a version of Keras does not have."""


@functools.cache
def of_group(group: str) -> Mapping[str, str]:
    """Digest the functions of a group in the Keras of this process; empty without its source."""
    found = {name: _digest(name) for name in GROUPS[group]}
    return {} if "" in found.values() else found


@functools.cache
def unknown(group: str) -> tuple[str, ...]:
    """Name the functions of a group in which it differs from the most similar tested version."""
    found = of_group(group)
    differ = [
        tuple(name for name, digest in found.items() if version not in _versions(name, digest))
        for version in TESTED
    ]
    return min(differ, key=len)


def has_source() -> bool:
    """Return whether the source of Keras is installed; without it only its version counts."""
    return bool(of_group(LOOP))


def family(version: str) -> Release:
    """Return the release whose training loop this Keras has: a tested one, else its own."""
    found = of_group(LOOP)
    if found and not unknown(LOOP):
        same = [_versions(name, digest) for name, digest in found.items()]
        return max(map(release, set.intersection(*same)))
    return release(version)


def _versions(name: str, digest: str) -> set[str]:
    return set(KNOWN.get(name, {}).get(digest, "").split())


def _digest(name: str) -> str:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(f"keras.src.{module}")
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
