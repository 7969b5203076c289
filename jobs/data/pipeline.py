"""Which random generators a ``tf.data`` pipeline draws from."""

from typing import Any

from rekindle.jobs.capture import rng
from rekindle.jobs.data import determinism


def seed_generators(dataset: Any) -> list[int]:
    """Numbers of the generators that functions of the dataset capture.

    Those advance as the pipeline reads ahead, so they are put back to where a pass over
    the data began, and the pass is read again.
    """
    handles = {
        id(handle)
        for node in determinism.nodes(dataset)
        for function in determinism.functions(node)
        for handle in getattr(function, "captured_inputs", ())
    }
    return [
        number
        for number, generator in rng.generators()
        if id(rng.variable_of(generator).handle) in handles
    ]
