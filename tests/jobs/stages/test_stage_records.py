"""Read what earlier attempts have recorded of their stages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rekindle.jobs.resume import model_config
from rekindle.jobs.stages import records
from rekindle.jobs.stages.decision import Record
from rekindle.jobs.stages.key import DataKey, StageKey
from rekindle.state import durable
from rekindle.state.paths import Run
from rekindle.state.run.checkpoints import Checkpoint, Position

KEY = StageKey("fit", "dense", "adam", {}, DataKey("d"))


def begun(stage: int, attempt: int) -> dict[str, Any]:
    return {
        "kind": "stage_begun",
        "stage": stage,
        "attempt": attempt,
        "key": KEY.to_json(),
        "entry": {"weights": "w", "random": "r"},
        "way": {"lines": ["a"], "turns": [], "given": "", "known": True},
    }


def entry(kind: str, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "attempt": attempt, **fields}


def read(*entries: dict[str, Any], **more: Any) -> dict[int, Record]:
    return records.read(entries, more.pop("existing", []), more.pop("attempt", 9), **more)


def test_stages_are_read_with_their_keys_and_ends() -> None:
    found = read(begun(0, 1), entry("stage_ended", stage=0, step=20), begun(1, 1))
    assert [True, False] == [found[n].ended for n in (0, 1)]
    assert 20 == found[0].step
    assert KEY == found[1].key
    assert found[1].is_open


def test_a_stage_that_was_followed_by_another_in_its_attempt_was_left() -> None:
    assert read(begun(0, 1), begun(1, 1))[0].left
    assert not read(begun(0, 1), entry("resumed", 2, stage=0), begun(1, 3))[0].left


def test_stages_of_an_older_version_are_known_by_checkpoints_and_receipts() -> None:
    on_disk = [Checkpoint(Path("e0002-s00000020-end"), Position(0, 2, 20, end=True))]
    found = read(entry("resumed", stage=1), existing=on_disk)
    assert [(0, None, True), (1, None, False)] == [
        (n, found[n].key, found[n].ended) for n in sorted(found)
    ]


def test_a_start_from_scratch_forgets_all_stages() -> None:
    assert {} == read(begun(0, 1), entry("scratch_requested"))


def test_an_accepted_change_counts_for_the_attempts_before_it_alone() -> None:
    released = [entry("state_changed", was="held"), entry("attempt_started", 3)]
    assert read(begun(0, 1), *released, attempt=3, accepted=True)[0].accepted
    assert not read(*released, begun(0, 3), attempt=4, accepted=True)[0].accepted
    assert not read(begun(0, 1), *released, attempt=3)[0].accepted
    assert read(begun(0, 1), attempt=3, new_code_from=2)[0].accepted
    assert not read(begun(0, 2), attempt=3, new_code_from=2)[0].accepted


def test_a_damaged_entry_is_a_stage_without_a_key() -> None:
    damaged = {**begun(0, 1), "key": {"kind": 3}, "entry": 7, "way": []}
    assert None is read(damaged)[0].key
    other = {**begun(0, 1), "key": {**KEY.to_json(), "format": 99}}
    assert None is read(other)[0].key
    assert asdict(KEY) == asdict(StageKey.parse(KEY.to_json()) or KEY)


class Model:
    def __init__(self, units: int, number: int, rate: float = 0.1) -> None:
        self.config = {"units": units, "name": f"dense_{number}", "learning_rate": rate}

    def to_json(self) -> str:
        return json.dumps(self.config)


def test_an_architecture_is_written_once_and_older_formats_are_read(tmp_path: Path) -> None:
    """Automatic names and learning rates make no other architecture."""
    run = Run(tmp_path)
    old = {"model": {"class": "Old", "keras": "3", "model": {"units": 1}}}
    durable.write_json(run.architecture, {"format": 1, "stages": {"0": old}})
    digests = [model_config.store(run, {"model": Model(n % 2, n)}) for n in range(30)]
    written = run.architecture.stat()
    digests += [model_config.store(run, {"model": Model(n % 2, n, 1.0 / n)}) for n in range(1, 30)]
    assert 2 == len(set(digests))
    assert written.st_mtime_ns == run.architecture.stat().st_mtime_ns
    assert 1 == model_config.load(run, {"architecture": digests[1]})["model"]["model"]["units"]
    at = {"stage": 0, "epoch": 0, "step": 0, "epoch_step": 0, "base": 0, "end": False}
    assert old == model_config.load(run, {"position": at})
    assert {} == model_config.load(run, {"position": {**at, "stage": 7}})


def test_equal_keys_are_one_object_so_that_hundreds_are_compared_once() -> None:
    keys = [StageKey("fit", "dense", "adam", {"batch_size": size}) for size in ("16", "16", "32")]
    journal = [
        {"kind": "stage_begun", "attempt": 1, "stage": number, "key": one.to_json()}
        for number, one in enumerate(keys)
    ]
    first, second, third = (found.key for found in records.read(journal, [], 2).values())
    assert first == keys[0] and first is second
    assert third == keys[2]
