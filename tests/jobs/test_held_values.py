"""Values of variables that are held while training continues stay as they were, bit for bit.

A snapshot holds the buffers of the variables. Every way in which TensorFlow changes a variable
must write into another buffer as long as that one is in use; one that did not would put a later
state into an earlier checkpoint.
"""

import functools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from rig import ROOT, environment

from rekindle.jobs.capture.variables import components_of
from rekindle.jobs.weights.raw_arrays import value_of

Trained = tuple[list[tf.Variable], Callable[[], object]]

RNG = np.random.default_rng(0)
X = RNG.random((64, 8)).astype("float32")
WORDS = RNG.integers(0, 50, (64, 8))
Y = RNG.integers(0, 3, 64)
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def assert_held(variables: list[tf.Variable], train: Callable[[], object], *, least: int) -> None:
    """Hold all values, train three times, and compare with copies made before."""
    train()
    held = [value_of(one) for one in variables]
    before = [bits(value) for value in held]
    for _ in range(3):
        train()
    assert [bits(value) for value in held] == before
    changed = sum(bits(value_of(one)) != was for one, was in zip(variables, before, strict=True))
    assert changed >= least, "nothing was trained"


def fit(x: np.ndarray, layers: list[tf.keras.layers.Layer], **compiled: object) -> Trained:
    model = tf.keras.Sequential([tf.keras.Input((8,)), *layers, tf.keras.layers.Dense(3)])
    model.compile(loss=LOSS, metrics=["accuracy"], **compiled)
    model.fit(x, Y, verbose=0)
    metrics = [v for metric in model.metrics for v in metric.variables]
    variables = [*model.variables, *model.optimizer.variables, *metrics]
    return components_of(variables), lambda: model.fit(x, Y, verbose=0)


OPTIMIZERS = tf.keras.optimizers
FITS = {
    "plain": {},
    "compiled by XLA": {"jit_compile": True},
    "several steps per execution": {"steps_per_execution": 4},
    "eager": {"run_eagerly": True},
    "moving average": {
        "optimizer": OPTIMIZERS.Adam(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2)
    },
    "momentum": {"optimizer": OPTIMIZERS.SGD(momentum=0.9, nesterov=True)},
    "accumulated gradients": {"optimizer": OPTIMIZERS.Adam(gradient_accumulation_steps=2)},
    **{name: {"optimizer": name} for name in ("sgd", "rmsprop", "ftrl", "adagrad", "adafactor")},
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit(name: str) -> None:
    layers = [
        tf.keras.layers.Dense(16),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.Dropout(0.3),
    ]
    assert_held(*fit(X, layers, **{"optimizer": "adam", **FITS[name]}), least=8)


def test_an_embedding_whose_gradient_is_sparse() -> None:
    layers = [tf.keras.layers.Embedding(50, 8), tf.keras.layers.Flatten()]
    assert_held(*fit(WORDS, layers, optimizer="adam"), least=8)


TWO_REPLICAS = f"""
import sys
sys.path[:0] = {[str(ROOT / "tests" / name) for name in ("jobs", "support")]}
import tensorflow as tf
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
import test_held_values as values
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    trained = values.fit(values.X, [tf.keras.layers.Dense(4)], optimizer="adam")
values.assert_held(*trained, least=16)
"""


def test_a_fit_on_two_replicas() -> None:
    """In a process of its own: devices are configured before the first variable."""
    ran = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_legacy_keras() -> None:
    legacy = pytest.importorskip("tf_keras")
    old = legacy.optimizers.legacy
    for optimizer in ("adam", old.Adam(), old.SGD(momentum=0.9), old.RMSprop(centered=True)):
        model = legacy.Sequential(
            [
                legacy.layers.Embedding(50, 8, input_length=8),
                legacy.layers.Flatten(),
                legacy.layers.Dense(3),
            ]
        )
        loss = legacy.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        model.fit(WORDS, Y, verbose=0)
        slots = model.optimizer.variables
        variables = [*model.variables, *(slots() if callable(slots) else slots)]
        assert_held(variables, lambda model=model: model.fit(WORDS, Y, verbose=0), least=3)


def test_every_way_to_assign() -> None:
    rows = tf.constant([1, 2, 3])

    def slices() -> tf.IndexedSlices:
        return tf.IndexedSlices(tf.random.uniform((3, 4)), rows)

    def matrix() -> tf.Variable:
        return tf.Variable(tf.ones((10, 4)))

    one, two = matrix(), matrix()

    @tf.function(jit_compile=True)
    def compiled() -> None:
        one.assign(one * 1.5 + 1.0)
        two.assign_add(one)

    assert_held([one, two], compiled, least=2)
    generator = tf.random.Generator.from_seed(3)
    assert_held([generator.state], lambda: generator.normal((4,)), least=1)
    ways: dict[str, Callable[[tf.Variable], object]] = {
        "assign": lambda v: v.assign(v + 1.0),
        "assign_add": lambda v: v.assign_add(tf.ones((10, 4))),
        "assign_sub": lambda v: v.assign_sub(tf.ones((10, 4))),
        "scatter_add": lambda v: v.scatter_add(slices()),
        "scatter_update": lambda v: v.scatter_update(slices()),
        "scatter_mul": lambda v: v.scatter_mul(slices()),
        "part": lambda v: v[2:4, :].assign(tf.random.uniform((2, 4))),
        "several parts": lambda v: v.scatter_nd_add([[1], [2]], tf.ones((2, 4))),
    }
    for change in ways.values():
        for wrap in (lambda f: f, tf.function):
            variable = matrix()
            assert_held([variable], functools.partial(wrap(change), variable), least=1)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8", "int64", "bool", "complex64"])
def test_every_type(kind: str) -> None:
    variable = tf.Variable(tf.cast(tf.reshape(tf.range(12) % 2, (3, 4)), kind))

    def change() -> None:
        value = variable.read_value()
        variable.assign(tf.logical_not(value) if kind == "bool" else value + tf.cast(1, kind))

    change()
    assert_held([variable], change, least=1)


def test_a_scalar_and_an_empty_variable_are_arrays() -> None:
    for shape in ((), (0, 3)):
        value = value_of(tf.Variable(tf.zeros(shape)))
        assert isinstance(value, np.ndarray)
        assert value.shape == shape
