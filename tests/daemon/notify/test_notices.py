"""Notices are made of what a person has to know, and of nothing that heals by itself."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import entered
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.notify import message, notices
from rekindle.daemon.notify.notices import Notice
from rekindle.daemon.notify.outbox import MOST_PENDING, Outbox
from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import EventRow, JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> JobRow:
    home = Home(tmp_path_factory.mktemp("home"))
    home.create()
    ledger = Ledger.open(home.ledger)
    job = Job(name="a", id="a-1", workdir="/", claim="a", command=["true"])
    entered.enter(home, ledger, job)
    found = ledger.job("a-1")
    ledger.close()
    assert found is not None
    return found


def event(kind: str, job: str | None = "a-1", number: int = 1, **data: Any) -> EventRow:
    return EventRow(number, 5.0, job, 1, kind, data, 1, None)


def look(row: JobRow, interruptions: Callable[[], int] = lambda: 0) -> notices.Lookup:
    return notices.Lookup(lambda _: row, lambda _: interruptions())


def of(row: JobRow, *events: EventRow, interruptions: int = 0) -> list[Notice]:
    looked = look(row, lambda: interruptions)
    return list(notices.of_events(events, looked, most=3, seen={}))


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("job_done", {"reason": "Fine."}, ("done", "Fine.", "rekindle show a-1")),
        ("job_failed", {"reason": "No."}, ("failed", "No.", "rekindle retry a-1")),
        ("job_held", {"reason": "NaN."}, ("held", "NaN.", "rekindle release a-1")),
        ("disk_full", {"message": "0 B"}, ("disk", "The disk is full: 0 B", "rekindle prune")),
        (
            "spec_rejected",
            {"file": "b.toml", "error": "No key.", "hint": "Add it."},
            ("refused", "No key. Add it.", "rekindle ls"),
        ),
    ],
)
def test_what_needs_a_person_has_a_notice(
    row: JobRow, kind: str, data: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    (found,) = of(
        row, event(kind, None if kind in ("disk_full", "spec_rejected") else "a-1", **data)
    )
    assert (found.kind, found.text, found.command) == expected


def test_the_command_is_that_of_the_hint(row: JobRow) -> None:
    hinted = dataclasses.replace(row, hint="Then `rekindle release a-1 --new-code` runs it.")
    (found,) = of(hinted, event("job_held", reason="x"))
    assert found.command == "rekindle release a-1 --new-code"


@pytest.mark.parametrize(
    "silent",
    [
        event("job_held", reason="It was stopped by ana; everything is saved."),
        event("job_cancelled", reason="It was cancelled by ana."),
        event("job_waiting", reason="Crash 1.", was="running"),
        event("job_queued", reason="Preempted.", was="stopping"),
        event("job_waiting", reason="It waits for a GPU.", was="queued"),
        event("job_running"),
        event("spec_rejected", None, file="0123.request", error="x", hint="y"),
        event("disk_has_room", None),
        event("gpu_failed", gpu="x"),
    ],
    ids=lambda one: f"{one.kind} {one.data}",
)
def test_what_heals_by_itself_has_none(row: JobRow, silent: EventRow) -> None:
    """Or what a person asked for."""
    assert of(row, silent, interruptions=3) == []


def test_interruptions_have_a_notice_beyond_the_limit_and_at_each_doubling(row: JobRow) -> None:
    """Not at each of five hundred."""
    seen: dict[str, int] = {}
    reported = []
    for count in range(1, 40):
        looked = look(row, lambda: count)
        again = event("job_queued", was="running", reason="Preempted.")
        if list(notices.of_events([again], looked, most=3, seen=seen)):
            reported.append(count)
    assert reported == [4, 8, 16, 32]
    list(notices.of_events([event("job_done")], look(row), most=3, seen=seen))
    assert seen == {}


def test_a_notice_that_is_no_longer_true_is_dropped(row: JobRow) -> None:
    """A person released the job before the batch was sent."""
    held = Notice("held", "a-1", "x", "", 1.0)
    assert notices.still_holds(held, dataclasses.replace(row, state=JobState.HELD))
    assert not notices.still_holds(held, dataclasses.replace(row, state=JobState.RUNNING))
    assert not notices.still_holds(held, None)
    assert notices.still_holds(Notice("refused", "x.toml", "x", "", 1.0), None)


def test_the_message_begins_with_what_needs_a_person() -> None:
    found = [
        Notice("done", "d-1", "Fine.", "rekindle show d-1", 1.0),
        Notice("disk", "disk", "Filling up.", "rekindle prune", 2.0),
        Notice("held", "h-1", "NaN.", "rekindle release h-1", 3.0),
        Notice("failed", "f-1", "No.", "rekindle retry f-1", 4.0),
    ]
    assert message.title("gpu1", found) == "rekindle on gpu1: 1 held, 1 failed, 1 done, disk"
    assert message.body(found) == (
        "Needs you\n- h-1 held: NaN.\n  $ rekindle release h-1\n- f-1 failed: No.\n"
        "  $ rekindle retry f-1\n- Filling up.\n  $ rekindle prune\n\nDone\n- d-1 done: Fine."
    )
    value = message.as_json("gpu1", "/home", found)
    assert [one["kind"] for one in value["notices"]] == ["held", "failed", "disk", "done"]


@given(st.text(), st.text())
def test_hostile_text_stays_on_its_line(reason: str, file: str) -> None:
    """Line breaks, escape sequences, a megabyte."""
    refused = event("spec_rejected", None, file=f"{file}.toml", error=reason * 1000, hint=reason)
    lookup = notices.Lookup(lambda _: None, lambda _: 0)
    (found,) = notices.of_events([refused], lookup, most=3, seen={})
    body = message.body([found])
    assert len(body.splitlines()) == 3
    assert body.replace("\n", "").isprintable()
    assert len(found.text) <= 400


def test_a_thousand_notices_are_bounded() -> None:
    box = Outbox(0)
    for number in range(1000):
        box.add(Notice("done", f"a-{number}", "x" * 400, "", 1.0), 1.0)
    assert len(box.pending) == MOST_PENDING
    assert box.left_out == 500
    body = message.body(box.pending, box.left_out)
    assert len(body) < 20_000
    assert "500 notices more were left out" in body


def test_batches_and_their_rate() -> None:
    box = Outbox(0)
    assert not box.is_batch_due(100.0, batch=60, most=2)
    now = 100.0
    for _ in range(2):
        box.add(Notice("done", "a-1", "x", "", now), now)
        box.add(Notice("done", "a-1", "newer", "", now), now)
        assert [one.text for one in box.pending] == ["newer"]
        assert not box.is_batch_due(now + 59, batch=60, most=2)
        now += 60
        assert box.is_batch_due(now, batch=60, most=2)
        box.close_batch({"title": "x"}, ["t"], now)
    box.add(Notice("done", "a-1", "x", "", now), now)
    assert not box.is_batch_due(now + 3000, batch=60, most=2), "the third in this hour"
    assert box.is_batch_due(now + 3700, batch=60, most=2)
    # a clock that was set back holds nothing up
    assert box.is_batch_due(now - 1e6, batch=60, most=2)


def test_a_target_that_has_it_does_not_get_it_again() -> None:
    """And one that never answers is given up after a day."""
    box = Outbox(0)
    box.close_batch({"title": "x"}, ["a", "b"], 100.0)
    (one,) = box.messages
    assert box.due(99.0) is None
    assert box.due(100.0) is one
    assert box.settle(one, {"b": "refused"}, 100.0)
    assert one.targets == ["b"]
    assert box.due(100.0) is None
    waits = []
    now = 100.0
    while box.messages:
        waits.append(one.next_at - now)
        now = one.next_at
        kept = box.settle(one, {"b": "refused"}, now)
    assert not kept
    assert now - 100.0 >= 86_400
    assert all(0 < wait <= 1815 for wait in waits)
    assert waits[-1] >= 1800 > waits[0]


def test_the_outbox_survives_a_restart_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "notify.json"
    box = Outbox(7, interrupted={"a-1": 4}, pinged="2026-11-27")
    box.add(Notice("held", "a-1", "x", "y", 1.0), 1.0)
    box.close_batch({"title": "x"}, ["t"], 2.0)
    box.add(Notice("held", "b-1", "x", "y", 3.0), 3.0)
    box.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Outbox.read(path, 9) == box
    assert Outbox.read(path, 3).cursor == 3, "the ledger was rebuilt"
    for text in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "cursor": "x", "nonsense": 1}'):
        path.write_text(text)
        assert Outbox.read(path, 9) == Outbox(9)
