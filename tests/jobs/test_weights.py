"""Values that may be infinite, types that a file lacks, and names that Keras numbers."""

import types
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.weights import auto_names, raw_arrays
from rekindle.jobs.weights.finiteness import Finiteness, is_finite


@pytest.mark.parametrize(
    "array",
    [
        np.array([1 + 2j, np.nan], np.complex128),
        np.array(3 - 1j, np.complex64),
        np.array([[b"a", b"\xff\x00"], [b"", b"ccc"]], dtype=object),
        np.array(b"one", dtype=object),
        np.array([True, False]),
        np.array([1, 255], np.uint8),
        np.zeros((0, 3), np.complex128),
    ],
)
def test_an_array_of_any_type_comes_back(array: np.ndarray) -> None:
    packed = raw_arrays.packed(array)
    assert packed.dtype.itemsize <= 8 and not packed.dtype.hasobject
    back = raw_arrays.unpacked(packed, array.dtype)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tolist() == array.tolist() or back.tobytes() == array.tobytes()


def test_an_array_of_other_objects_is_refused() -> None:
    with pytest.raises(TypeError, match="dict"):
        raw_arrays.packed(np.array([{}], dtype=object))


MASK = types.SimpleNamespace(path="net/mask", trainable=False)
KERNEL = types.SimpleNamespace(path="net/kernel", trainable=True)
MOVING = types.SimpleNamespace(path="net/moving_variance", trainable=False)


def _judge(judge: Finiteness, variable: object, *values: float, key: str = "model/0") -> str | None:
    return judge.judge([(key, variable, np.array(values, "float32"))])[1]


def test_infinities_of_the_begin_stay_allowed() -> None:
    for variable in (MASK, KERNEL, MOVING):
        judge = Finiteness()
        assert _judge(judge, variable, -np.inf, 1) is None
        assert _judge(judge, variable, -np.inf, np.inf) is None
        assert _judge(judge, variable, -np.inf, np.nan) == "model/0"


def test_a_value_that_diverges_is_found() -> None:
    for variable, key in ((KERNEL, "model/0"), (MOVING, "model/0"), (MASK, "optimizer/0")):
        judge = Finiteness()
        assert _judge(judge, variable, 1, 2, key=key) is None
        assert _judge(judge, variable, 1, np.inf, key=key) == key
    assert _judge(Finiteness(), KERNEL, np.nan) == "model/0"


def test_a_buffer_of_nan_may_be_filled_and_a_mask_may_move() -> None:
    judge = Finiteness()
    assert _judge(judge, MASK, np.nan, np.nan) is None
    assert _judge(judge, MASK, np.nan, 1) is None
    assert judge.judge([("model/1", MASK, np.array([np.inf]))]) == (
        {"model/0": 2, "model/1": 0},
        None,
    )


def test_a_checkpoint_says_what_is_allowed() -> None:
    judge = Finiteness()
    judge.allow({"model/0": 0})
    assert _judge(judge, KERNEL, -np.inf) is None
    assert _judge(judge, KERNEL, 1.0, key="model/1") is None
    assert _judge(judge, KERNEL, np.inf, key="model/1") == "model/1"


THEN = [
    ("Functional", "functional_3"),
    ("Dense", "dense_4"),
    ("Dense", "dense_5"),
    ("LSTM", "lstm"),
]
NOW = [("Functional", "functional"), ("Dense", "dense"), ("Dense", "dense_1"), ("LSTM", "lstm_7")]


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ("functional_3/dense_5/kernel", "functional/dense_1/kernel", True),
        ("functional_3/dense_4/kernel", "functional/dense_1/kernel", False),
        (
            "adam/functional_3_dense_5_kernel_momentum",
            "adam/functional_dense_1_kernel_momentum",
            True,
        ),
        ("dropout/seed_generator_12/state", "dropout/seed_generator/state", True),
        ("x/seed_generator_12/state", "x/seed_generator_3/state", True),
        ("own_1/kernel", "own_2/kernel", False),
        ("dense_45/kernel", "dense_15/kernel", False),
    ],
)
def test_paths_are_compared_without_automatic_numbers(then: str, now: str, *, same: bool) -> None:
    renaming = auto_names.Renaming(auto_names.ranks(THEN), auto_names.ranks(NOW))
    assert len(set(renaming.canonical(then, now))) == 2 - same


def test_settings_are_compared_without_automatic_numbers() -> None:
    def config(name: str, activation: str) -> dict:
        nodes = {"config": {"keras_history": [name, 0, 0]}, "class_name": "__keras_tensor__"}
        return {"name": name, "activation": activation, "layers": [nodes]}

    then, now = auto_names.ranks(THEN), auto_names.ranks(NOW)
    first = auto_names.without_numbers(config("dense_5", "dense"), then)
    assert first == auto_names.without_numbers(config("dense_1", "dense"), now)
    assert first != auto_names.without_numbers(config("dense", "dense"), now)
    assert first["activation"] == "dense"


class ResourceVariable:
    """Stands in by its name for a variable of TensorFlow, of which the shape may change."""

    def __init__(self, shape: tuple[int | None, ...]) -> None:
        self.shape = shape
        self.dtype = types.SimpleNamespace(as_numpy_dtype=np.float32)
        self.assigned: list[np.ndarray] = []

    def assign(self, array: np.ndarray) -> None:
        self.assigned.append(array)


@pytest.mark.parametrize(
    ("shape", "array"),
    [
        ((3,), np.zeros((2,), np.float32)),
        ((None,), np.zeros((2,), np.float32)),
        ((2,), np.zeros((2,), np.float64)),
        ((2,), np.array([b"a", b"b"], object)),
    ],
)
def test_a_value_of_another_shape_or_type_is_left_to_the_variables_own_checks(
    shape: tuple[int | None, ...], array: np.ndarray
) -> None:
    variable = ResourceVariable(shape)
    raw_arrays.assign(variable, array)
    assert len(variable.assigned) == 1 and variable.assigned[0] is array


def test_a_model_that_grows_after_its_names_were_ranked_is_described_anew() -> None:
    """As one that the symbolic build of a finished stage makes."""
    import keras

    from rekindle.jobs.capture.rng import RandomState
    from rekindle.jobs.resume import fit_build

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    state = fit_build.model_state(model, RandomState(list))
    saved = {**state.capture({}), "fingerprint": state.fingerprint(), "random": {"seeds": []}}
    state.fix()
    assert state.difference(saved) is None
    known = state.fingerprint()["auto_names"]
    added = keras.layers.Dense(1)
    model.add(added)
    model.build((None, 3))
    state.fix()
    assert state.fingerprint()["auto_names"].keys() - known.keys() >= {added.name}
    assert state.difference(saved) is not None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.complex64])
def test_a_single_number_that_is_not_finite_is_found(kind: Any) -> None:
    """Wherever it is; two that cancel, and finite ones whose sum is infinite, are no exception."""
    whole = np.ones((7, 300), kind)
    assert is_finite(whole)
    for at in (0, 1049, 2099):
        for value in (np.nan, np.inf, -np.inf):
            one = whole.copy()
            one.flat[at] = value
            assert not is_finite(one)
    both = whole.copy()
    both[0, 0], both[6, 7] = np.inf, -np.inf
    assert not is_finite(both)
    assert is_finite(np.full(300, np.finfo(kind).max, kind))
    assert is_finite(np.zeros((0, 3), kind))
    assert not is_finite(np.array(np.nan, kind))
