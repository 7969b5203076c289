"""Look at steps that are traced: their names, and attributes that change after it."""

from typing import Any

import keras
import pytest
import tensorflow as tf

from rekindle.jobs.python_state.component import PythonState
from rekindle.jobs.seeding import trace_draws


class Scaled(keras.layers.Dense):
    def __init__(self, units: int) -> None:
        super().__init__(units)
        self.scale = 1.0

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) * self.scale


@pytest.mark.parametrize("made_again", [False, True])
def test_a_changed_attribute_is_named_unless_the_step_is_made_again(made_again: bool) -> None:
    model = keras.Sequential([keras.Input((2,)), Scaled(1)])
    model.compile("sgd", "mse")
    model.make_train_function()
    state = PythonState({"model": model}, list)
    state.capture({})
    model.layers[0].scale = 0.5
    if made_again:
        model.make_train_function(force=True)
    state.capture({})
    assert bool(state.caveats()) is not made_again
    model.layers[0].scale = 0.25
    state.capture({})
    assert len(state.caveats()) == 1


def test_the_steps_of_training_and_validation_have_different_names() -> None:
    model = keras.Sequential([keras.Input((2,)), Scaled(1)])
    model.compile("sgd", "mse")
    trace_draws.number([model])
    model.make_train_function()
    model.make_test_function()
    model.make_predict_function()
    steps = (model.train_function, model.test_function, model.predict_function)
    names = [trace_draws.step_name(step) for step in steps]
    assert None not in names
    assert len(set(names)) == 3, names


class Counting(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen = {"batches": 0}


def test_a_dictionary_in_tensorflows_proxy_is_restored() -> None:
    """Its ``__class__`` is ``dict``, its type is not."""
    first = Counting()
    state = PythonState({"module": first}, list)
    first.seen["batches"] = 7
    arrays: dict[str, Any] = {}
    kept = state.capture(arrays)
    second = Counting()
    PythonState({"module": second}, list).restore(kept, arrays, lenient=False)
    assert dict(second.seen) == {"batches": 7}


class Holder:
    nested: Any = None


def test_an_object_that_cannot_be_read_is_named_and_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    holder = Holder()
    state = PythonState({"holder": holder}, list)
    nested: tuple[Any, ...] = ()
    for _ in range(5000):
        nested = (nested,)
    holder.nested = nested
    assert state.capture({}) == {}
    (caveat,) = state.caveats()
    assert "RecursionError" in caveat.what
    assert "Traceback" in capsys.readouterr().err
