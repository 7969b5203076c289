"""Lookup tables of layers: vocabularies, which no variable holds.

A table that a script fills before training (``adapt``) is made again by the script; its content
is compared. A mutable one is saved and restored, since a training step may insert into it.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rekindle.jobs.keras_compat.tensorflow_parts import tf
from rekindle.jobs.weights import raw_arrays
from rekindle.jobs.weights.layer_attributes import TABLES, Attributes
from rekindle.state.run.training_state import TrainingState

Tensors = dict[str, np.ndarray[Any, Any]]

_FIXED = (tf.lookup.StaticHashTable,)
_MUTABLE = (tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable)


class LookupTables:
    """Capture and restore the tables in attributes of layers; part of the state of models.

    Args:
        models: returns the models.
    """

    def __init__(self, models: Callable[[], list[Any]]) -> None:
        self._models = models
        self._attributes = Attributes(TABLES)
        self._digests: dict[int, tuple[Any, str]] = {}

    def capture(self, arrays: Tensors) -> TrainingState:
        tables = []
        for number, (name, table) in enumerate(self._found()):
            if isinstance(table, _FIXED):
                tables.append([name, self._digest(table)])
                continue
            keys, values = _content(table)
            key = f"tables/{number:03d}"
            arrays[f"{key}/keys"] = raw_arrays.packed(keys)
            arrays[f"{key}/values"] = raw_arrays.packed(values)
            tables.append([name, "", key])
        return {"tables": tables} if tables else {}

    def restore(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        then = saved.get("tables")
        if not then:
            return
        for (_, table), entry in zip(self._found(), then, strict=False):
            if len(entry) < 3 or isinstance(table, _FIXED):
                continue
            keys = raw_arrays.unpacked(arrays[f"{entry[2]}/keys"], table.key_dtype.as_numpy_dtype)
            values = raw_arrays.unpacked(
                arrays[f"{entry[2]}/values"], table.value_dtype.as_numpy_dtype
            )
            here, _ = _content(table)
            if len(here):
                table.remove(tf.constant(here, table.key_dtype))
            if len(keys):
                table.insert(
                    tf.constant(keys, table.key_dtype), tf.constant(values, table.value_dtype)
                )

    def difference(self, saved: TrainingState) -> str | None:
        then = saved.get("tables")
        if then is None:
            return None  # none, or a checkpoint of an earlier version
        now = self._found()
        if len(now) != len(then):
            return f"the layers had {len(then)} lookup tables and have {len(now)}"
        for (name, table), entry in zip(now, then, strict=True):
            if isinstance(table, _FIXED) and len(entry) == 2 and self._digest(table) != entry[1]:
                return f"the vocabulary of the {name} has changed"
        return None

    def _digest(self, table: Any) -> str:
        """Digest a table that nothing changes, once."""
        known = self._digests.get(id(table))
        if known is None or known[0] is not table:
            digest = hashlib.sha256()
            for part in _content(table):
                digest.update(raw_arrays.packed(part).tobytes())
            known = self._digests[id(table)] = table, digest.hexdigest()[:16]
        return known[1]

    def _found(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        seen: set[int] = set()
        attributes = self._attributes.begin()
        for model in self._models():
            for layer in model._flatten_layers():
                for _, value in attributes.of(layer):
                    table = getattr(value, "_table", value) if _is_vocabulary(value) else value
                    if isinstance(table, (*_FIXED, *_MUTABLE)) and id(table) not in seen:
                        seen.add(id(table))
                        found.append((f"{type(layer).__name__} layer", table))
        return found


def _is_vocabulary(value: Any) -> bool:
    return isinstance(value, tf.lookup.StaticVocabularyTable)


def _content(table: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return keys and values, sorted by key: the order in a table is arbitrary."""
    keys, values = (part.numpy() for part in table.export())
    if isinstance(table, tf.lookup.experimental.DenseHashTable):
        # its export has a row for each free place, and an axis more for scalars
        free = [np.asarray(key) for key in (table._empty_key, table._deleted_key)]
        keys = keys.reshape(len(keys), *free[0].shape)
        values = values.reshape(len(values), *table._default_value.shape)
        used = np.array([not any(np.array_equal(key, one) for one in free) for key in keys], bool)
        keys, values = keys[used], values[used]
    if not len(keys):
        return keys, values
    order = np.argsort(keys, axis=0, kind="stable").reshape(len(keys), -1)[:, :1].reshape(-1)
    return keys[order], values[order]
