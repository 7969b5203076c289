"""The meaning of each fault, its record, and how it is reported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rekindle.daemon.gpus import faults, placement
from rekindle.daemon.gpus.faults import Facts, Severity
from rekindle.daemon.gpus.health import Health
from rekindle.daemon.gpus.monitor import Seen
from rekindle.daemon.gpus.placement import Gpu
from rekindle.daemon.queue_file import QueueFile, faulty_gpus
from rekindle.jobs import process
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

FATAL, NO_NEW, WATCH = Severity.FATAL, Severity.NO_NEW, Severity.WATCH


@pytest.mark.parametrize(
    ("codes", "severity"),
    [
        ((13, 31, 43, 45, 68, 69, 109, 32, 8, 121), None),
        ((63, 92, 94), WATCH),
        ((48, 61, 62, 64, 74, 79, 95, 119, 120, 140, 154, 46, 143), FATAL),
        ((199, 7, 90), NO_NEW),
    ],
)
def test_each_xid_means_what_the_catalogue_says(
    codes: tuple[int, ...], severity: Severity | None
) -> None:
    """An unknown one is no reason to end a training, and none to start one."""
    for code in codes:
        found = faults.of_note(faults.note(code, "noon"))
        assert (found.severity if found else None) == severity, code


def test_a_note_of_an_older_version_is_still_a_fault() -> None:
    """It had no text of its own."""
    found = faults.of_note("XID 79 at 2026-01-01 02:00:00")
    assert found is not None
    assert found.severity == FATAL


def test_the_drivers_own_recovery_action_decides_where_it_is_reported() -> None:
    """XID 154 and counted errors alone do not say if the GPU is usable."""
    note = faults.note(154, "noon")
    assert faults.of_note(note, Facts(recovery=0)) is None
    assert faults.of_note(note, Facts()) is not None
    (contained,) = faults.of_facts(Facts(uncorrected=1, recovery=0), 30)
    (unknown,) = faults.of_facts(Facts(uncorrected=1), 30)
    assert (contained.severity, unknown.severity) == (WATCH, FATAL)
    assert [one.severity for one in faults.of_facts(Facts(recovery=1), 30)] == [FATAL]
    assert [one.severity for one in faults.of_facts(Facts(recovery=4), 30)] == [NO_NEW]
    assert [one.severity for one in faults.of_facts(Facts(recovery=99), 30)] == [FATAL]


def test_heat_is_a_fault_when_it_lasts_and_over_when_it_is_gone_for_a_minute() -> None:
    """The reasons flicker; a power cap is none of them."""
    known = None
    for now in range(200):
        known = faults.follow_slowdown(known, 0x40 if now % 7 else 0, float(now), "02:14")
    assert known is not None
    fault = known.fault(180.0)
    assert fault is not None
    assert fault.text == "its clocks have been reduced since 02:14 (hardware thermal slowdown)"
    assert fault.passes
    assert faults.follow_slowdown(known, 0x04, 258.0, "02:18") == known
    assert faults.follow_slowdown(known, 0x04, 260.0, "02:18") is None
    assert faults.follow_slowdown(None, 0x01 | 0x04 | 0x10, 0.0, "02:00") is None


class Patient:
    """The health of some GPUs over a real home."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        self.ledger = Ledger.open(self.home.ledger)
        self.restart()

    def restart(self) -> None:
        self.file = QueueFile(self.home)
        self.health = Health(self.ledger, self.file, silent_after=30.0)

    def look(self, *gpus: Gpu, xids: tuple[tuple[str, int], ...] = ()) -> dict[str, list[str]]:
        cards = frozenset(gpu.card for gpu in gpus)
        seen = Seen(0.0, gpus, cards, len(gpus))
        judged = self.health.judge(seen, xids, 0.0)
        return {gpu.uuid: [fault.text for fault in gpu.faults] for gpu in judged}

    def events(self, kind: str) -> list[dict[str, object]]:
        return [row.data for row in self.ledger.events() if row.kind == kind and row.data]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


A, B = Gpu("GPU-a", "0", "H100"), Gpu("GPU-b", "1", "H100")


def test_a_storm_of_events_is_one_fault_and_an_accepted_one_counts_again(patient: Patient) -> None:
    """A file that grows with each XID would be written for ever."""
    for _ in range(50):
        found = patient.look(A, B, xids=(("GPU-a", 79), ("GPU-a", 31)))
    assert len(found["GPU-a"]) == 1
    assert found["GPU-b"] == []
    assert len(patient.events("gpu_set_aside")) == 1
    patient.health.accept(replace(A, faults=(faults.Fault("", found["GPU-a"][0], FATAL),)))
    assert patient.look(A, B) == {"GPU-a": [], "GPU-b": []}
    patient.restart()
    assert patient.look(A, B) == {"GPU-a": [], "GPU-b": []}, "a person's word is kept"
    assert len(patient.look(A, B, xids=(("GPU-a", 48),))["GPU-a"]) == 1


def test_counted_errors_that_grow_are_reported_once_until_the_gpu_is_sound(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number may change each second; the file is written when the kinds of faults change."""
    patient.look(A, B)
    writes: list[object] = []
    real = patient.file.decide
    monkeypatch.setattr(patient.file, "decide", lambda **new: (writes.append(new), real(**new)))
    for count in range(1, 20):
        patient.look(replace(A, facts=Facts(uncorrected=count)), B)
    assert len(writes) == 1
    assert len(patient.events("gpu_set_aside")) == 1
    patient.look(A, B)
    assert patient.events("gpu_sound") == [{"gpu": "GPU-a"}]


def test_what_verbs_read_is_cleared_when_a_fault_is_over_before_the_daemon_starts(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ls` and `doctor` would name a GPU that was repaired by a reboot for ever."""
    patient.look(A, B, xids=(("GPU-a", 79),))
    assert [gpu.uuid for gpu in faulty_gpus(patient.home)] == ["GPU-a"]
    monkeypatch.setattr(process, "boot_id", lambda: "the next boot")
    patient.restart()
    patient.look(A, B)
    assert faulty_gpus(patient.home) == []


def test_a_new_boot_forgets_events_and_not_gpus_that_are_gone(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that is dead after the reboot must not make its job train on the CPU."""
    patient.look(A, B, xids=(("GPU-a", 79),))
    monkeypatch.setattr(process, "boot_id", lambda: "the next boot")
    patient.restart()
    assert patient.look(A, B) == {"GPU-a": [], "GPU-b": []}
    patient.restart()
    found = patient.look(B)
    assert found == {"GPU-b": [], "GPU-a": ["the driver no longer shows it"]}
    assert patient.health.known() == 2
    judged = patient.health.judge(Seen(0.0, (B,), frozenset({"GPU-b"}), 1), (), 0.0)
    patient.health.accept(next(gpu for gpu in judged if gpu.uuid == "GPU-a"))
    assert patient.look(B) == {"GPU-b": []}, "a person says that it was taken out"
    assert patient.health.known() == 1


def test_a_card_in_the_place_of_another_is_no_missing_one(patient: Patient) -> None:
    """As after a repair."""
    patient.look(A, B)
    new = Gpu("GPU-new", "0", "H100")
    assert patient.look(new, B) == {"GPU-new": [], "GPU-b": []}


def test_a_gpu_that_the_daemon_may_not_use_is_not_missing(patient: Patient) -> None:
    """An administrator has restarted the daemon with a narrower CUDA_VISIBLE_DEVICES."""
    patient.look(A, B)
    judged = patient.health.judge(Seen(0.0, (B,), frozenset({"GPU-a", "GPU-b"}), 1), (), 0.0)
    assert [gpu.uuid for gpu in judged] == ["GPU-b"]
    none = patient.health.judge(Seen(0.0, wanted=False), (), 0.0)
    assert none == ()


def test_a_gpu_that_no_longer_tells_its_uuid_is_known_by_its_number(patient: Patient) -> None:
    """A probe that starts after it was lost never reads it."""
    patient.look(A, B)
    lost = Gpu("", "0", facts=Facts(error="NVML: GPU is lost", lost=True))
    assert patient.look(lost, B)["GPU-a"] == ["NVML: GPU is lost"]


def test_what_happens_to_a_gpu_happens_to_its_mig_instances(patient: Patient) -> None:
    """Instances that an administrator removes are not missing."""
    one, two = (Gpu(f"MIG-{n}", f"0:{n}", "H100", parent="GPU-a") for n in (1, 2))
    found = patient.look(one, two, B, xids=(("GPU-a", 79),))
    assert [len(found[name]) for name in ("MIG-1", "MIG-2", "GPU-b")] == [1, 1, 0]
    assert set(patient.look(one, B)) == {"MIG-1", "GPU-b"}


def test_a_full_disk_keeps_no_fault_from_being_seen(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written as soon as there is room."""
    patient.look(A, B)

    def full(**changes: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(patient.file, "decide", full)
        assert patient.look(A, B, xids=(("GPU-a", 79),))["GPU-a"]
        assert patient.look(A, B)["GPU-a"]
    patient.look(A, B)
    assert "XID 79" in json.loads(patient.home.queue.read_text())["noted"]["GPU-a"][0]


def test_a_relaunch_prefers_its_gpus_then_their_model_then_any() -> None:
    """Its numbers are those of the model that it began on."""
    names = {"a": "T4", "b": "H100", "c": "T4", "d": "H100"}
    order = ("a", "b", "c", "d")
    assert placement.prefer(order, 2, (), names) == ("a", "b")
    assert placement.prefer(order, 1, ("d",), names) == ("d",)
    assert placement.prefer(("a", "b", "c"), 2, ("d",), names) == ("b", "a")
    assert placement.prefer(("a", "c"), 1, ("d",), names) == ("a",)
