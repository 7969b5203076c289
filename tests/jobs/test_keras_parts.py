"""Which functions of Keras exact resume rests on, and how versions of them are distinguished."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np
import pytest
import pythons
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from rig import ROOT

from rekindle.jobs.keras_compat import (
    digests,
    internals,
    keras3,
    keras_support,
    legacy,
    loops,
    none,
    parts,
)
from rekindle.jobs.keras_compat.known import KNOWN, LEGACY_TESTED, TESTED

TABLE = parts.KERAS3["tensorflow"]

SAMPLE = '''
def step(self, data: "Batch", *rest, scale=1.0, **more) -> None:
    """Train."""
    # a comment
    if scale > 1.0 and not rest:
        warnings.warn("large")
    x, y = data
    with self.scope() as scope, other():
        text = f"{x!r:>{scale}} and {y}"
        lambda one: [two for two in one if two]
    try:
        yield x[1:2, ...]
    except (ValueError, KeyError) as error:
        raise StopIteration from error
'''


@pytest.fixture
def fresh() -> Iterator[None]:
    """Digest again what a test has changed."""
    parts.of_group.cache_clear()
    parts.unknown.cache_clear()
    yield
    parts.of_group.cache_clear()
    parts.unknown.cache_clear()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Train."""', '"""Trains, as it should."""'),
        ("# a comment", "# another"),
        ('warnings.warn("large")', 'warnings.warn("too large", stacklevel=2)'),
        ("    x, y = data", "    x, y = data  # both"),
        (': "Batch"', ""),
    ],
)
def test_what_nothing_rests_on_does_not_count(before: str, after: str) -> None:
    assert before in SAMPLE
    assert digests.of_source(SAMPLE) == digests.of_source(SAMPLE.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("scale > 1.0", "scale >= 1.0"),
        ("x, y = data", "y, x = data"),
        ("scale=1.0", "scale=2.0"),
        ("and {y}", "or {y}"),
        ("x[1:2, ...]", "x[1:3, ...]"),
        ("from error", "from None"),
        ("and not rest", "and rest"),
    ],
)
def test_each_change_of_what_it_does_counts(before: str, after: str) -> None:
    assert before in SAMPLE
    assert digests.of_source(SAMPLE) != digests.of_source(SAMPLE.replace(before, after))


@pytest.mark.parametrize("version", [(3, 10), (3, 12), (3, 13)])
def test_another_python_computes_the_same_digest(version: tuple[int, int], tmp_path: Path) -> None:
    python = pythons.find(*version)
    if python is None:
        pytest.skip("needs a Python {}.{}".format(*version))
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / '.importroot')!r})\n"
        "from rekindle.jobs.keras_compat import digests\n"
        "print(digests.of_source(sys.stdin.read()))"
    )
    done = subprocess.run([python, "-c", code], input=SAMPLE, capture_output=True, text=True)
    assert digests.of_source(SAMPLE) == done.stdout.strip(), done.stderr


def test_the_table_has_every_function_in_every_tested_version() -> None:
    tables = [(one.groups, one.tested) for one in parts.KERAS3.values()]
    tables.append((parts.LEGACY_GROUPS, LEGACY_TESTED))
    wanted: dict[str, set[str]] = {}
    for groups, tested in tables:
        for name in (name for group in groups.values() for name in group):
            wanted.setdefault(name, set()).update(tested)
    found = {
        name: [one for those in digests.values() for one in those.split()]
        for name, digests in KNOWN.items()
    }
    assert {name: sorted(those) for name, those in wanted.items()} == {
        name: sorted(those) for name, those in found.items()
    }


def test_a_tested_version_has_only_known_functions() -> None:
    assert keras.__version__ in TESTED
    assert {()} == {parts.unknown(group, TABLE) for group in parts.GROUPS}
    assert keras_support.EXACT == internals.support().level
    # a digest of nothing would be known, too
    assert all(len(set(KNOWN[name])) > 1 or name for name in KNOWN)
    assert parts.has_source(TABLE)


def test_a_changed_training_loop_is_named_with_its_cost(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(self, x=None):  # type: ignore[no-untyped-def]
        return self.history

    monkeypatch.setattr(TensorFlowTrainer, "fit", fit)
    support = internals.support()
    assert keras_support.EPOCHS == support.level
    assert "TensorFlowTrainer.fit differs from tested versions" in support.what
    assert "whole epochs" in support.what
    assert not internals.follows(np.zeros(3))


def test_a_changed_kind_of_data_costs_that_kind_alone(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneratorDataAdapter, "get_tf_dataset", lambda self: self)
    support = internals.support()
    assert keras_support.PARTLY == support.level
    assert "`fit` with generators is resumed from whole epochs" in support.what
    assert "GeneratorDataAdapter.get_tf_dataset differs" in support.what
    assert not internals.follows(one for one in [1])
    for data in (np.zeros(3), tf.data.Dataset.range(3), {"x": np.zeros(3)}):
        assert internals.follows(data)


def test_functions_of_two_tested_versions_together_are_not_known(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone is known; nobody has tried them in one Keras."""
    name = "backend.tensorflow.trainer:TensorFlowTrainer.fit"
    ours = parts.of_group(keras_support.LOOP, TABLE)
    (old,) = (digest for digest, those in KNOWN[name].items() if those.split()[0] == "3.7.0")
    mixed = {**ours, name: old}
    assert all(digest in KNOWN[one] for one, digest in mixed.items())
    monkeypatch.setattr(parts, "of_group", lambda group, table: mixed)
    assert (name,) == parts.unknown(keras_support.LOOP, TABLE)


@pytest.mark.parametrize(
    ("version", "backend", "level", "words"),
    [
        ("3.15.1", "jax", keras_support.EXACT, ""),
        ("3.15.1", "torch", keras_support.EXACT, ""),
        ("3.6.0", "jax", keras_support.UNFOLLOWED, "Keras 3.6.0 on jax is too old"),
        ("3.6.0", "torch", keras_support.UNFOLLOWED, "Keras 3.6.0 on torch is too old"),
        ("3.15.1", "openvino", keras_support.UNFOLLOWED, "The Keras backend is openvino"),
    ],
)
def test_each_backend_has_tested_versions_of_its_own(
    version: str, backend: str, level: str, words: str
) -> None:
    support = keras_support.decide(version, backend, unknown={})
    assert level == support.level
    assert words in support.what


UNKNOWN = MappingProxyType({keras_support.LOOP: ("a:A.fit", "a:A.step", "a:b", "a:c")})


@pytest.mark.parametrize(
    ("version", "unknown", "level", "words"),
    [
        ("3.15.1", {}, keras_support.EXACT, ""),
        ("3.15.1", None, keras_support.EXACT, ""),
        ("3.14.7", {}, keras_support.SIMILAR, "Keras 3.14.7 is not tested, but"),
        ("3.14.7", None, keras_support.EPOCHS, "its source is not installed"),
        ("3.99.0", UNKNOWN, keras_support.EPOCHS, "A.fit, A.step, b and 1 more differ"),
        ("3.99.0", {"arrays": ("a:B.c",)}, keras_support.PARTLY, "arrays: B.c differs"),
        ("3.2.1", {}, keras_support.UNFOLLOWED, "too old to be followed"),
    ],
)
def test_a_version_is_followed_as_far_as_it_is_known(
    version: str, unknown: dict[str, tuple[str, ...]] | None, level: str, words: str
) -> None:
    support = keras_support.decide(version, keras_support.BACKEND, unknown=unknown)
    assert level == support.level
    assert words in support.what
    assert bool(support.what) == (level != keras_support.EXACT)


@pytest.mark.parametrize(
    ("name", "version", "unknown", "level", "words"),
    [
        ("tf_keras", "2.21.0", {}, keras_support.EXACT, ""),
        ("tf_keras", "2.99.0", {}, keras_support.SIMILAR, "tf_keras 2.99.0 is not tested, but"),
        ("tf_keras", "2.99.0", UNKNOWN, keras_support.EPOCHS, "A.fit, A.step, b and 1 more"),
        ("keras", "2.11.0", {}, keras_support.UNFOLLOWED, "Keras 2.11.0 is too old"),
    ],
)
def test_legacy_keras_is_followed_as_far_as_it_is_known(
    name: str, version: str, unknown: dict[str, tuple[str, ...]] | None, level: str, words: str
) -> None:
    support = keras_support.decide_legacy(name, version, unknown=unknown)
    assert level == support.level
    assert words in support.what


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("keras", "2.11.0", "Install TensorFlow 2.12.0 with Keras 2.12.0,"),
        ("tf_keras", "2.99.0", "Install tf_keras 2.21.0,"),
    ],
)
def test_the_hint_names_the_nearest_legacy_keras(name: str, version: str, words: str) -> None:
    unknown = {keras_support.LOOP: ("a:A.fit",)}
    assert words in keras_support.decide_legacy(name, version, unknown=unknown).hint


def test_both_kinds_of_keras_have_the_same_parts() -> None:
    """Each is asked for by its name, whatever Keras is followed."""
    for module in (keras3, legacy, none):
        assert [] == [name for name in keras3.__all__ if not hasattr(module, name)]


def test_the_nearest_tested_version_is_the_next_newer_one() -> None:
    assert TESTED[0] == keras_support.nearest("3.0.5")
    assert TESTED[-1] == keras_support.nearest("4.0")
    assert "3.15.1" == keras_support.nearest("3.15.0.dev20261101")


@pytest.mark.parametrize(
    ("release", "loop"),
    [
        ((3, 5, 0), loops.EnumeratedLoop),
        ((3, 6), loops.EnumeratedLoop),
        ((3, 7, 0), loops.PairLoop),
        ((3, 10, 0), loops.PairLoop),
        ((3, 11, 0), loops.Loop),
        ((4,), loops.Loop),
    ],
)
def test_each_family_of_loops_has_its_adapter(
    release: tuple[int, ...], loop: type[loops.Loop]
) -> None:
    assert loop is loops.of(release)
