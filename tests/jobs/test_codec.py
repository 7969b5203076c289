"""A state that is malformed is refused when it is read, and calls nothing that it names."""

import copy
import json
import random
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from rekindle.jobs.capture import codec


def _state() -> tuple[dict, codec.Tensors]:
    arrays: codec.Tensors = {
        "model/00000": np.zeros(3, np.float32),
        "seeds/00000": np.zeros(2, np.uint32),
    }
    state = {
        "position": {"stage": 0, "epoch": 1, "step": 20, "epoch_step": 3, "base": 17, "end": False},
        "fingerprint": {"layers": [["Dense", "dense", "0a", "0b"]], "optimizers": {}, "plan": {}},
        "variables": {"model": [["dense/kernel", [3], "float32"]], "metrics": []},
        "random": {
            "python": codec.encode(random.getstate(), arrays, "random/python"),
            "numpy": codec.encode(np.random.get_state(), arrays, "random/numpy"),
            "eager": codec.encode(random.Random(1).getstate(), arrays, "random/eager"),
            "seeds": [[0, "seed_generator", "seeds/00000"]],
        },
        "callbacks": [["History", {"attributes": {}}]],
        "non_finite": {"model/00000": 0},
    }
    return json.loads(json.dumps(state)), arrays


def _places(value: object, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and len(value) < 20:
        items = enumerate(value)
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def test_a_state_as_it_is_captured_is_accepted() -> None:
    codec.check_state(*_state())


def test_any_malformed_state_is_refused_or_has_the_form_of_a_good_one() -> None:
    """Raise ValueError and nothing else, which puts the checkpoint into quarantine."""
    state, arrays = _state()
    dice = random.Random(3)
    refused = 0
    for path in _places(state) * 6:
        broken = copy.deepcopy(state)
        inner = broken
        for key in path[:-1]:
            inner = inner[key]
        if dice.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = dice.choice(
                [None, -1, 2**70, 1.5, "x", [], {}, {"set": 1}, {"system": "x"}, [["a"]], True]
            )
        try:
            codec.check_state(broken, arrays)
        except ValueError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["seed", "__class__", "shuffle", "test", 3, None])
def test_a_state_cannot_name_what_is_called(name: object) -> None:
    arrays: codec.Tensors = {}
    encoded = codec.encode(np.random.default_rng(1), arrays, "x")
    encoded["generator"] = codec.encode({"bit_generator": name, "state": {}}, arrays, "y")
    with pytest.raises(ValueError):
        codec.decode(encoded, arrays)


@pytest.mark.parametrize(
    "kind", [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox]
)
def test_every_kind_of_generator_comes_back(kind: type) -> None:
    arrays: codec.Tensors = {}
    generator = np.random.Generator(kind(5))
    generator.random(3)
    back = codec.decode(json.loads(json.dumps(codec.encode(generator, arrays, "x"))), arrays)
    assert back.random() == generator.random()


def test_no_generator_is_made_without_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th one that the script makes gets the n-th seed: ours would be counted, too."""
    state, arrays = _state()
    values = [np.random.Generator(np.random.PCG64(1)), np.random.RandomState(1), random.Random(1)]
    encoded = [codec.encode(value, arrays, f"v{n}") for n, value in enumerate(values)]

    def refuse(*_: object) -> None:
        raise AssertionError("a generator is made without a seed")

    plain = random.Random.seed
    monkeypatch.setattr(
        random.Random,
        "seed",
        lambda self, a=None, *more: plain(self, refuse() if a is None else a, *more),
    )
    monkeypatch.setattr(sys.modules["numpy.random.bit_generator"], "randbits", refuse)
    codec.check_state(state, arrays)
    for one, value in zip(encoded, values, strict=True):
        assert codec.decode(one, arrays).random() == value.random()


class Pair(NamedTuple):
    """A train state in the way of JAX."""

    weights: Any
    step: Any


class Other(NamedTuple):
    """Another class, of other fields."""

    weights: Any
    epoch: Any


def test_a_named_tuple_gets_the_class_of_the_existing_one() -> None:
    """A checkpoint names no class that would be made."""
    arrays: codec.Tensors = {}
    there = Pair({"w": np.arange(3.0)}, (Pair(1, None), 5))
    kept = json.loads(json.dumps(codec.encode(there, arrays, "x")))
    here = Pair({"w": np.zeros(3)}, (Pair(0, None), 0))
    made = codec.decode(kept, arrays, here)
    assert type(made) is Pair
    assert type(made.step[0]) is Pair
    assert (1, 5) == (made.step[0].weights, made.step[1])
    assert np.array_equal(there.weights["w"], made.weights["w"])
    for other in (None, (1, 2), Other(1, 2)):
        with pytest.raises(ValueError, match="a Pair, where the script has a"):
            codec.decode(kept, arrays, other)
