"""Comparison of layers and settings with those of the checkpoint."""

import copy
from typing import Any

import pytest

from rekindle.jobs.capture import fingerprint
from rekindle.state.run.training_state import Fingerprint


def made(**changes: Any) -> Fingerprint:
    """Make a fingerprint of two layers and an optimizer."""
    plain: Any = {
        "keras": "3.7.0",
        "model": "Sequential",
        "layers": [["InputLayer", "input", "aa", "ab"], ["Dense", "dense", "ba", "bb"]],
        "optimizers": {"optimizer": ["Adam", {"beta_1": "0.9", "gone": "1"}]},
        "plan": {},
    }
    return copy.deepcopy({**plain, **changes})


OTHER = [["InputLayer", "input", "xx", "xy"], ["Dense", "dense", "ba", "bb"]]


def test_settings_that_another_keras_writes_otherwise_are_named_and_do_not_refuse() -> None:
    """An upgrade at midnight: the step record proves or refutes, as the caveat says."""
    now = made(keras="3.10.0", layers=OTHER, optimizers={"optimizer": ["Adam", {"beta_1": "0.9"}]})
    assert fingerprint.compare(now, made()) is None
    (caveat,) = fingerprint.not_compared(now, made())
    assert "Keras was 3.7.0 and is 3.10.0: settings of input (InputLayer)" in caveat.what


@pytest.mark.parametrize("before", [made(), {k: v for k, v in made().items() if k != "keras"}])
def test_with_the_same_keras_they_refuse(before: Fingerprint) -> None:
    """Also with a checkpoint that does not have the version."""
    assert "settings of the layer input" in str(fingerprint.compare(made(layers=OTHER), before))
    assert [] == fingerprint.not_compared(made(layers=OTHER), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": [["InputLayer", "input", "xx", "xy"]]}, "had 2 layers and has 1"),
        ({"layers": [OTHER[0], ["Conv2D", "conv", "c", "c"]]}, "was a Dense"),
        ({"optimizers": {"optimizer": ["Adam", {"beta_1": "0.8"}]}}, "beta_1 of the optimizer"),
        ({"optimizers": {"optimizer": ["SGD", {}]}}, "was Adam and is SGD"),
    ],
)
def test_another_keras_hides_no_change_of_the_script(changes: dict[str, Any], words: str) -> None:
    found = fingerprint.compare(made(keras="3.10.0", **changes), made())
    assert words in str(found)
