"""Which recorded stage a call is: trainings that look alike, are skipped, or resume themselves."""

from dataclasses import replace
from typing import Any

import pytest

from rekindle.jobs.stages import match
from rekindle.jobs.stages.decision import Call, Found, New, Record, Refused
from rekindle.jobs.stages.key import DataKey, Entry, StageKey, Way
from rekindle.jobs.stages.stage_table import StageTable


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


def test_an_epoch_after_those_that_a_script_has_skipped_by_itself_is_new() -> None:
    """``fit(epochs=epoch + 1, initial_epoch=epoch)`` in a loop that begins where a file says."""
    third = replace(call("d", "w3", "epoch = 3"), resumes_itself=True)
    decision = match.find(third, EPOCHS[:2], 3, (EPOCHS[2],))
    assert decision == New()
    again = replace(call("d", "other", "epoch = 1"), resumes_itself=True)
    assert 1 == found(again, *EPOCHS)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("where", [{}, {"way": way(line="train.py:5 <module>")}])
def test_a_script_that_loads_its_own_weights_is_found(ended: bool, where: dict[str, Any]) -> None:
    assert 0 == found(call("d", "loaded", **where), record(0, ended=ended))


def replayed(calls: list[Call], records: list[Record]) -> list[Any]:
    """List the stages that calls of one attempt are, the first of them at the script's start."""
    numbers: list[Any] = []
    for one in calls:
        unmet = [record for record in records if record.number not in numbers]
        met = [records[number] for number in numbers if isinstance(number, int)]
        decision = match.find(one, unmet, len(numbers), met)
        numbers.append(
            decision.record.number if isinstance(decision, Found) else type(decision).__name__
        )
    return numbers


BEGUN = {
    "other weights in one line": (["w0", "w1", "w2"], [way()] * 3),
    "the same weights in one line": (["w"] * 3, [way()] * 3),
    "the same weights in other lines": (["w"] * 3, [way(line=f"train.py:{n}") for n in (3, 5, 9)]),
    "the same weights in turns": (["w"] * 3, [way(f"rate = {n}") for n in range(3)]),
    "the same weights, called by a library": (["w"] * 3, [way(known=False)] * 3),
    "the same weights, turns in part": (
        ["w"] * 3,
        [way(f"n = {n}", "model = None", known=False) for n in range(3)],
    ),
}


@pytest.mark.parametrize("ended", range(3))
@pytest.mark.parametrize("begun", BEGUN)
def test_stages_of_equal_content_are_met_in_their_order(begun: str, ended: int) -> None:
    """An unfinished one that follows does not give its model to the first call of a relaunch."""
    weights, ways = BEGUN[begun]
    calls = [Call(key(), Entry(w, "r"), at) for w, at in zip(weights, ways, strict=True)]
    records = [
        Record(n, key(), calls[n].entry, calls[n].way, ended=n < ended) for n in range(ended + 1)
    ]
    expected = [n if n <= ended else "New" for n in range(3)]
    assert expected == replayed(calls, records)


def test_the_random_state_tells_trainings_apart_that_begin_with_the_weights_of_a_file() -> None:
    records = [record(n, "d", "file", ended=n < 1, entry=Entry("file", f"r{n}")) for n in (0, 1)]
    assert 1 == found(call(entry=Entry("file", "r1")), *records)
    assert 0 == found(call(entry=Entry("file", "r0")), *records)


def test_a_training_whose_way_tells_nothing_is_guessed_and_named() -> None:
    records = [record(n, "d", f"w{n}", ended=n < 2) for n in range(3)]
    decision = match.find(call("d", "other"), records, 0)
    assert isinstance(decision, Found)
    assert (2, (0, 1)) == (decision.record.number, decision.guessed_among)
    # not where a relaunch has met the one before it
    decision = match.find(call("d", "other"), records[1:], 1, records[:1])
    assert isinstance(decision, Found)
    assert (1, ()) == (decision.record.number, decision.guessed_among)


def test_a_script_that_resumes_itself_does_not_go_back_to_stages_that_it_has_passed() -> None:
    """It continues in `while True`, with the weights of its unfinished fit."""
    records = [record(n, "d", f"w{n}", ended=n < 2) for n in range(3)]
    assert [2, "New"] == replayed([call("d", "w2"), call("d", "w3")], records)


def test_calls_of_one_line_are_told_apart_by_their_columns() -> None:
    one, other = (replace(way(), columns=(column,)) for column in ("8-20", "30-42"))
    records = [record(0, "d", "w0", ended=True, way=one), record(1, "d", "w1", way=other)]
    assert 1 == found(call("d", "drawn again", way=other), *records)
    assert New is found(call("d", "w0", way=other), records[0])
    # a journal of an older version has no columns
    assert 0 == found(call("d", "w0", way=one), record(0, "d", "w0", ended=True))


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


def said(*weights_and_random: tuple[str, str]) -> list[str]:
    """Return what a relaunch says that calls the first of some finished stages, and then ends."""
    records = {
        number: record(number, ended=True, entry=Entry(*one))
        for number, one in enumerate(weights_and_random)
    }
    notes: list[Any] = []
    table = StageTable(records, notes.append, lambda _: None)
    assert 0 == table.enter(call(entry=Entry(*weights_and_random[0])))
    table.check_met()
    return [note["message"] for note in notes if note["kind"] == "warned"]


def test_equal_trainings_of_which_some_are_skipped_are_named() -> None:
    """The script may skip the first, and the call be the second: both begin with the same."""
    (message,) = said(("w", "r0"), ("w", "r1"))
    assert "stage 0" in message and "stage 1" in message
    assert [] == said(("w", "r0"), ("w", "r0"))  # equal in all, hence in their results
    # the first training after those that are skipped draws the initial weights of the first
    assert 1 == len(said(("w", "r0"), ("v", "r1")))
    assert [] == said(("w", "r0"))


def test_one_key_of_hundreds_of_stages_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 300 stages of one content would compare the keys of all others."""
    shared = key("d")
    records = [
        replace(record(n, "d", f"w{n}", f"epoch = {n}", ended=True), key=shared) for n in range(300)
    ]
    compared = []
    plain = StageKey.fits

    def fits(self: StageKey, other: StageKey) -> bool:
        compared.append(other)
        return plain(self, other)

    monkeypatch.setattr(StageKey, "fits", fits)
    assert found(call("d", "w7", "epoch = 7"), *records) == 7
    assert len(compared) == 1
