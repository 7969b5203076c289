"""Which recorded stage a call is: trainings that look alike, are skipped, or resume themselves."""

from dataclasses import replace
from typing import Any

import pytest

from rekindle.jobs.stages import match
from rekindle.jobs.stages.key import DataKey, Entry, StageKey, Way
from rekindle.jobs.stages.match import Call, Found, New, Record, Refused


def key(data: str = "d", **parts: Any) -> StageKey:
    return replace(StageKey("fit", "dense", "adam", {"batch_size": "16"}, DataKey(data)), **parts)


def way(*turns: str, line: str = "train.py:9 <module>", known: bool = True) -> Way:
    return Way((line,), turns, "", known)


def call(data: str = "d", weights: str = "w", *turns: str, **parts: Any) -> Call:
    return replace(Call(key(data), Entry(weights, "r"), way(*turns)), **parts)


def record(number: int, data: str = "d", weights: str = "w", *turns: str, **parts: Any) -> Record:
    return replace(Record(number, key(data), Entry(weights, "r"), way(*turns)), **parts)


def found(one: Call, *unmet: Record, following: int = 0) -> Any:
    decision = match.find(one, unmet, following)
    return decision.record.number if isinstance(decision, Found) else type(decision)


FOLDS = (record(0, "fold 0", "w0", "fold = 0", ended=True), record(1, "fold 1", "w1", "fold = 1"))


def test_a_fold_that_is_skipped_does_not_give_its_model_to_the_next() -> None:
    """A relaunched script draws the weights of the first fold for the second one."""
    assert 1 == found(call("fold 1", "w0", "fold = 1"), *FOLDS)


def test_each_fold_is_found_where_nothing_is_skipped() -> None:
    assert 0 == found(call("fold 0", "w0", "fold = 0"), *FOLDS)
    assert 1 == found(call("fold 1", "w1", "fold = 1"), FOLDS[1], following=1)


def test_a_fold_that_had_not_begun_is_new_though_earlier_ones_are_skipped() -> None:
    assert New is found(call("fold 1", "w0", "fold = 1"), FOLDS[0])


def test_a_fold_is_refused_while_an_unfinished_one_is_not_met() -> None:
    assert Refused is found(call("fold 2", "w2", "fold = 2"), *FOLDS)


MEMBERS = (record(0, "d", "w0", "seed = 0", ended=True), record(1, "d", "w1", "seed = 1"))


@pytest.mark.parametrize("weights", ["w0", "w1", "other"])
def test_members_of_an_ensemble_are_told_apart_by_the_turn_of_the_loop(weights: str) -> None:
    """They have the same data, and a skipped member shifts the weights of the next."""
    assert 1 == found(call("d", weights, "seed = 1"), *MEMBERS)


def test_a_member_that_had_not_begun_is_not_the_finished_one() -> None:
    assert New is found(call("d", "w0", "seed = 1"), MEMBERS[0])
    assert Refused is found(call("d", "w0", "seed = 2"), *MEMBERS)


EPOCHS = tuple(
    record(number, "d", f"w{number}", f"epoch = {number}", ended=number < 3) for number in range(4)
)


def test_a_loop_of_fits_is_found_in_order() -> None:
    assert 2 == found(call("d", "w2", "epoch = 2"), *EPOCHS[2:], following=2)


def test_a_loop_of_fits_that_resumes_itself_goes_on_with_its_unfinished_epoch() -> None:
    assert 3 == found(call("d", "w3", "epoch = 3"), *EPOCHS)
    # with a counter that begins at 0 again
    assert 3 == found(call("d", "w3", "epoch = 0"), *EPOCHS)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("where", [{}, {"way": way(line="train.py:5 <module>")}])
def test_a_script_that_loads_its_own_weights_is_found(ended: bool, where: dict[str, Any]) -> None:
    assert 0 == found(call("d", "loaded", **where), record(0, ended=ended))


def test_other_data_at_the_same_place_is_refused_and_named() -> None:
    for ended in (False, True):
        decision = match.find(call("other"), [record(0, ended=ended)], 0)
        assert isinstance(decision, Refused)
        assert ("the content of the data differs",) == decision.differences


def test_a_tuner_that_goes_on_with_its_next_trial_is_not_refused() -> None:
    """A library calls each trial from the same line."""
    through = way(known=False)
    assert New is found(call("other", way=through), record(0, ended=True, way=through))


def test_a_training_that_an_exception_ended_may_be_skipped() -> None:
    assert New is found(call("d1", "w", "n = 1"), record(0, "d0", "w", "n = 0", left=True))


def test_stages_of_an_older_version_are_found_by_their_order() -> None:
    old = [Record(0, ended=True), Record(1)]
    assert 0 == found(call(), *old)
    assert 1 == found(call(), old[1], following=1)
    assert New is found(call(), following=2)


def test_an_accepted_change_takes_the_stage_that_the_call_should_be() -> None:
    decision = match.find(call("other"), [record(0, accepted=True)], 0)
    assert isinstance(decision, Found)
    assert "the content of the data differs" == decision.by_order


def test_floats_that_differ_in_the_last_bits_are_the_same_data() -> None:
    """A GPU may predict the labels of a second training with other last bits."""
    one = DataKey("a", "form", (1.0, 0.5))
    assert one.equals(DataKey("b", "form", (1.00001, 0.5)))
    assert not one.equals(DataKey("b", "form", (1.1, 0.5)))
    assert not one.equals(DataKey("b", "other", (1.0, 0.5)))


def test_a_key_is_read_as_it_was_written() -> None:
    made = key(data="d", loss="mse")
    assert made == StageKey.parse(made.to_json())
    assert None is StageKey.parse({"kind": "fit"})
    assert None is StageKey.parse("fit")
