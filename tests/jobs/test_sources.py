"""Sources of batches: what is known of a batch before one is read."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rekindle.jobs.data.keras3.array_source import ArraySource
from rekindle.jobs.data.keras3.fit_iterator import FitIterator
from rekindle.jobs.data.sources import DataEvents

X = np.arange(60, dtype="float32").reshape(20, 3)
Y = np.arange(20)


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (5, {"x": X, "y": Y}),
        (6, {"x": X.astype("float64"), "y": Y.astype("uint8"), "sample_weight": np.ones(20)}),
        (32, {"x": X}),
        (6, {"x": [X, X[:, :2]], "y": {"a": Y, "b": X}}),
        (5, {"x": {"one": X, "two": tf.constant(X)}, "y": (Y, Y)}),
        (6, {"x": tf.ragged.constant([[1, 2], [3]] * 10), "y": Y}),
        (5, {"x": tf.sparse.from_dense(X), "y": Y}),
    ],
)
def test_the_specification_of_arrays_is_that_of_their_batches(
    size: int, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = tf.distribute.get_strategy()
    events = DataEvents(*([lambda: None] * 4))
    arguments = {"batch_size": size, "shuffle": True, **data}
    made = FitIterator((7, 0), events, distribute_strategy=strategy, **arguments)
    source = made.source
    assert isinstance(source, ArraySource)
    there = source._batches(0, 0).element_spec
    if not isinstance(data["x"], tf.RaggedTensor | tf.SparseTensor):
        # a pipeline for each of hundreds of folds would cost 0.1 s
        monkeypatch.setattr(ArraySource, "_batches", None)
    tf.nest.assert_same_structure(there, source.element_spec, check_types=True)
    assert there == source.element_spec
