"""Tests of a second walk: what Keras' own layers hold is taken over, and each change is found."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from rekindle.jobs.capture import variables
from rekindle.jobs.capture.variables import Descriptions
from rekindle.jobs.python_state.keras_objects import Classifier
from rekindle.jobs.python_state.reach import Reach
from rekindle.jobs.python_state.saved import changed_nodes
from rekindle.jobs.weights.finiteness import Finiteness
from rekindle.jobs.weights.layer_attributes import HOLDERS, Attributes


class Note:
    """Be an object of the script that a layer holds."""

    def __init__(self):
        self.count = 0


def _model():
    layers = [keras.layers.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    return keras.Sequential([*layers, keras.layers.Dense(2)])


def _set(layer):
    layer.note = "another"


def _replace(layer):
    layer.units = 9


def _remove(layer):
    del layer.units


def _rename(layer):
    units = vars(layer).pop("last")
    vars(layer)["other"] = units


def _hold(layer):
    layer.held = Note()


def _freeze(layer):
    layer.trainable = False


def _part(layer):
    layer._layers.append(keras.layers.Dropout(0.5))


@pytest.mark.parametrize("change", [_set, _replace, _remove, _rename, _hold, _freeze, _part])
def test_what_is_set_of_a_layer_is_found_by_the_next_walk(change):
    model = _model()
    layer = model.layers[0]
    vars(layer)["last"] = 7.5
    classify = Classifier(lambda: list(model.variables))
    entry = Reach({"model": model}, classify.look())
    before = Reach({"model": model}, classify.look(), entry, last=entry)
    assert before.readings
    assert not list(changed_nodes(entry, before))

    change(layer)

    again = Reach({"model": model}, classify.look(), entry, last=before)
    afresh = Reach({"model": model}, classify.look(), entry)
    assert _read(again) == _read(afresh) != _read(before)
    assert [node.path for node in changed_nodes(entry, again)] == [
        node.path for node in changed_nodes(entry, afresh)
    ]


def test_an_object_that_an_unchanged_layer_holds_is_read_again():
    model = _model()
    layer = model.layers[0]
    layer.held = held = Note()
    classify = Classifier(lambda: list(model.variables))
    entry = Reach({"model": model}, classify.look())

    held.count = 5

    again = Reach({"model": model}, classify.look(), entry, last=entry)
    assert again.path_of(layer) in again.readings
    assert [node.path for node in changed_nodes(entry, again)] == [again.path_of(held)]


def test_a_layer_of_the_script_is_read_in_full():
    class Own(keras.layers.Layer):
        pass

    model = keras.Sequential([keras.layers.Input((3,)), Own()])
    reach = Reach({"model": model}, Classifier(lambda: list(model.variables)).look())
    path = reach.path_of(model.layers[0])
    assert path in reach.nodes
    assert path not in reach.readings


@pytest.mark.parametrize("name", ["kept", "_kept"])
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"a": (one,)}])
def test_a_variable_that_a_layer_gets_later_is_listed(name, wrap):
    model = _model()
    attributes = Attributes(HOLDERS)
    first = variables.of_model(model, attributes)
    kept = tf.Variable(1.0)

    vars(model.layers[0])[name] = wrap(kept)

    found = variables.of_model(model, attributes)
    assert not any(one is kept for group in first.values() for one in group)
    assert any(one is kept for group in found.values() for one in group)


def test_a_variable_that_enters_a_known_list_is_listed():
    model = _model()
    vars(model.layers[0])["kept"] = kept = []
    attributes = Attributes(HOLDERS)
    variables.of_model(model, attributes)
    kept.append(one := tf.Variable(1.0))
    assert variables.of_model(model, attributes)["plain"] == [one]


@pytest.mark.parametrize("name", ["kept", "_kept"])
def test_a_variable_that_a_list_holds_twice_is_listed_once(name):
    model, kept = _model(), tf.Variable(1.0)
    vars(model.layers[0])[name] = [kept, kept]
    found = variables.of_model(model, Attributes(HOLDERS))
    assert sum(one is kept for group in found.values() for one in group) == 1


def test_a_layer_that_is_listed_no_more_is_forgotten():
    attributes, layer = Attributes(HOLDERS), keras.layers.Dropout(0.5)
    gone = weakref.ref(layer)
    attributes.begin().of(layer)
    del layer
    gc.collect()
    assert gone() is not None
    attributes.begin()
    attributes.begin()
    gc.collect()
    assert gone() is None


def test_descriptions_are_those_of_the_variables_that_are_there():
    known = Descriptions()
    for size in range(3, 9):
        # each takes the place of the last one in memory
        one = tf.Variable(np.zeros(size), name=f"v{size}")
        kept = known.readable({"g": [one]})
        assert kept["g"][0] is one
        assert known.of(one) == [f"v{size}:0", [size], "float64"]
        del one, kept


@pytest.mark.parametrize("count", [0, 1, 3])
def test_small_arrays_are_judged_as_each_alone(count):
    values = [(f"model/{n:05d}", None, np.ones(8, kind)) for n, kind in enumerate(("f4", "f8") * 4)]
    for _, _, value in values[:count]:
        value[3] = np.nan
    found = Finiteness({}).judge(values)
    assert found == ({}, "model/00000" if count else None)


def _read(reach):
    return {
        path: (node.kind.name, node.content, node.digests()) for path, node in reach.nodes.items()
    }
