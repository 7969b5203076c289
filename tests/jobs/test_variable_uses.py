"""Each way in which a script can use the weights of a model between two trainings is noticed."""

import copy
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.jobs.ends.uses import VariableUses

pytestmark = pytest.mark.slow  # it imports TensorFlow


@pytest.fixture(scope="module")
def thing() -> Any:
    import numpy as np
    import tensorflow as tf

    class Thing:
        x = np.ones((4, 3), "float32")
        y = np.ones((4, 1), "float32")
        model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
        data = tf.data.Dataset.from_tensor_slices(x).batch(2)

    model = Thing.model
    model.compile("adam", "mse")
    model.fit(Thing.x, Thing.y, verbose=0)
    Thing.raw = model.layers[0].kernel.value  # type: ignore[attr-defined]
    Thing.called = tf.function(model)  # type: ignore[attr-defined]
    Thing.called(Thing.x)  # type: ignore[attr-defined]
    Thing.concrete = Thing.called.get_concrete_function(Thing.x)  # type: ignore[attr-defined]
    Thing.mapped = Thing.data.map(model)  # type: ignore[attr-defined]
    Thing.iterator = iter(Thing.mapped)  # type: ignore[attr-defined]
    Thing.tf = tf  # type: ignore[attr-defined]
    Thing.np = np  # type: ignore[attr-defined]
    return Thing


USES: dict[str, Callable[[Any, Path], Any]] = {
    "get_weights": lambda t, _: t.model.get_weights(),
    "set_weights": lambda t, _: t.model.set_weights(t.model.get_weights()),
    "numpy": lambda t, _: t.model.layers[0].kernel.numpy(),
    "np.asarray": lambda t, _: t.np.asarray(t.model.layers[0].kernel),
    "a tf.Variable": lambda t, _: t.raw.numpy(),
    "an operation in C++": lambda t, _: t.tf.matmul(t.x, t.raw),
    "a comparison": lambda t, _: t.raw + 1.0,
    "call": lambda t, _: t.model(t.x),
    "predict": lambda t, _: t.model.predict(t.x, verbose=0),
    "predict_on_batch": lambda t, _: t.model.predict_on_batch(t.x),
    "evaluate": lambda t, _: t.model.evaluate(t.x, t.y, verbose=0),
    "train_on_batch": lambda t, _: t.model.train_on_batch(t.x, t.y),
    "save": lambda t, path: t.model.save(path / "m.keras"),
    "save_weights": lambda t, path: t.model.save_weights(path / "m.weights.h5"),
    "export": lambda t, path: t.model.export(path / "m", verbose=False),
    "tf.train.Checkpoint": lambda t, path: t.tf.train.Checkpoint(model=t.model).write(
        str(path / "c")
    ),
    "tf.function": lambda t, _: t.called(t.x),
    "a concrete function": lambda t, _: t.concrete(t.tf.constant(t.x)),
    "a pipeline": lambda t, _: list(t.mapped),
    "an iterator of before": lambda t, _: next(t.iterator),
    "reduce": lambda t, _: t.mapped.reduce(0.0, lambda total, x: total + t.tf.reduce_sum(x)),
    "deepcopy": lambda t, _: copy.deepcopy(t.raw),
    "learning_rate": lambda t, _: float(t.model.optimizer.learning_rate),
    "a learning rate that is set": lambda t, _: setattr(t.model.optimizer, "learning_rate", 0.1),
    "a thread": lambda t, _: _in_thread(t.model.get_weights),
    "a fork": lambda t, _: os.waitpid(os.fork() or os._exit(0), 0),
}


def _in_thread(call: Callable[[], Any]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


@pytest.fixture
def uses() -> Iterator[VariableUses]:
    made = VariableUses()
    yield made
    made.stop()


@pytest.mark.parametrize("use", USES)
def test_it_is_noticed_once(use: str, thing: Any, uses: VariableUses, tmp_path: Path) -> None:
    noticed: list[str] = []
    assert uses.watch(lambda: noticed.append(use))
    USES[use](thing, tmp_path)
    USES[use](thing, tmp_path)
    assert noticed == [use]


def test_it_is_noticed_before_a_value_is_there(thing: Any, uses: VariableUses) -> None:
    def refuse() -> None:
        raise PermissionError

    for use in (thing.model.get_weights, lambda: next(thing.iterator), lambda: thing.called(0)):
        assert uses.watch(refuse)
        with pytest.raises(PermissionError):
            use()


def test_what_uses_no_variable_is_none(thing: Any, uses: VariableUses, tmp_path: Path) -> None:
    noticed: list[str] = []
    assert uses.watch(lambda: noticed.append("used"))
    assert thing.model.history.history["loss"]
    assert thing.model.count_params() == 4
    thing.model.summary(print_fn=lambda *args, **kwargs: None)
    thing.np.savez(tmp_path / "x.npz", x=thing.x)
    assert noticed == []


def test_afterwards_tensorflow_is_as_it_was(thing: Any, uses: VariableUses) -> None:
    before = dict(vars(type(thing.called)))
    assert uses.watch(lambda: None)
    assert before != dict(vars(type(thing.called)))
    uses.stop()
    assert before == dict(vars(type(thing.called)))
    assert not any("_handle" in vars(one) for one in type(thing.raw).__mro__)
