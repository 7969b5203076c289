"""The number of events stays bounded, and what was dropped or counted is recorded."""

from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.state.ledger import events
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.run import journal


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger.open(tmp_path / "ledger.db")
    accept(made, 1)
    return made


def accept(ledger: Ledger, *numbers: int) -> list[str]:
    with ledger.transaction():
        for number in numbers:
            ledger.insert_job(
                f"a-{number}",
                name="a",
                number=number,
                run_dir=f"/runs/a-{number}",
                priority=0,
                spec="{}",
                claim=f"a-{number}",
                submitted_at=float(number),
            )
    return [f"a-{number}" for number in numbers]


def test_a_repeated_event_is_counted(ledger: Ledger) -> None:
    """Only directly after itself: an event between two others stays an event of its own."""
    for at in (1.0, 2.0, 3.0):
        ledger.add_event("trouble", job="a-1", data={"disk": "full"}, at=at)
    ledger.add_event("trouble", job="a-1", data={"disk": "slow"}, at=4.0)
    ledger.add_event("trouble", job="a-1", data={"disk": "full"}, at=5.0)
    ledger.add_event("trouble", data={"disk": "full"}, at=6.0)
    found = [(e.at, e.count, e.last_at) for e in ledger.events(kind="trouble")]
    assert found == [(1.0, 3, 3.0), (4.0, 1, None), (5.0, 1, None), (6.0, 1, None)]


def test_an_entry_that_is_read_again_is_neither_added_nor_counted(ledger: Ledger) -> None:
    """A journal that is read from its start once more changes nothing."""
    found = [
        {"v": 1, "t": float(t), "kind": "warned", "attempt": 1, "message": text, "hint": "h"}
        for t, text in enumerate(["x", "x", "x", "y", "x"])
    ]
    for _ in range(3):
        ledger.ingest("a-1", found, 0)
    assert [(e.at, e.count, e.data["message"]) for e in ledger.events("a-1", kind="warned")] == [
        (0.0, 3, "x"),
        (3.0, 1, "y"),
        (4.0, 1, "x"),
    ]


def test_of_very_many_events_the_newest_are_kept_and_the_others_counted(ledger: Ledger) -> None:
    """Twice over the bound; another job and the home lose nothing."""
    accept(ledger, 2)
    ledger.add_event("queue_paused")
    sent = 3 * (events.MOST + events.SLACK)
    with ledger.transaction():
        for number in range(sent):
            ledger.add_event("warned", job="a-1", data={"number": number}, at=float(number))
        ledger.add_event("warned", job="a-1", data={"number": number}, at=1e9)
    kept = ledger.events("a-1")
    assert events.MOST <= len(kept) <= events.MOST + events.SLACK
    assert kept[0].kind == "events_dropped"
    assert [e.data["number"] for e in kept[1:]] == list(range(sent - len(kept) + 1, sent))
    # with the event that says that the job was accepted
    assert kept[0].data["dropped"] + sum(e.count for e in kept[1:]) == sent + 2
    assert len(ledger.events("a-2")) == 1
    assert len(ledger.events(kind="queue_paused")) == 1


def test_a_pause_of_many_waiting_jobs_is_one_event(ledger: Ledger) -> None:
    """The first reason of each job is an event of its own; a change for all is one of the home."""
    jobs = accept(ledger, *range(2, 302))
    ledger.set_waiting(jobs, "It waits for a CPU slot.", now=1.0)
    before = len(ledger.events())
    for now, reason in ((2.0, "The queue is paused."), (3.0, "It waits for a CPU slot.")):
        ledger.set_waiting(jobs, reason, now=now)
    added = ledger.events()[before:]
    assert [(e.kind, e.job, e.data["jobs"]) for e in added] == [("jobs_wait", None, 300)] * 2
    assert added[0].data["reason"] == "The queue is paused."
    assert [e.data for e in ledger.events("a-7", kind="job_waiting")] == [
        {"reason": "It waits for a CPU slot."}
    ]
    ledger.set_waiting(["a-7"], "It waits for b-1.", now=4.0)
    assert ledger.events("a-7")[-1].data == {"reason": "It waits for b-1."}


def test_adding_an_event_reads_no_more_rows_the_more_there_are(ledger: Ledger) -> None:
    """Each statement uses an index: no scan of the table."""
    db = ledger._db
    for sql in statements(ledger):
        for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"):
            assert not str(row["detail"]).startswith("SCAN"), (sql, row["detail"])


def statements(ledger: Ledger) -> list[str]:
    """Record the statements that adding an event and reading an entry execute."""
    said: list[str] = []
    ledger._db.set_trace_callback(said.append)
    ledger.add_event("warned", job="a-1", data={"x": 1})
    entry = {"v": 1, "t": 5.0, "kind": "warned", "attempt": 1, "message": "m", "hint": "h"}
    ledger.ingest("a-1", [entry], 0)
    ledger._db.set_trace_callback(None)
    return [sql for sql in said if "FROM events" in sql or "UPDATE events" in sql]


@pytest.mark.slow
def test_the_journal_keeps_every_entry_that_the_ledger_dropped(rig: Rig, tmp_path: Path) -> None:
    """A script that warns without end: the ledger is bounded, the journal is the truth."""
    rig.drop("command = ['sleep', '1000']\nworkdir = '/'\n", "a.toml")
    rig.start()
    rig.wait_state("a-1", "running")
    run = rig.home.run("a-1")
    sent = events.MOST + 3 * events.SLACK
    for number in range(sent):
        journal.append(run.journal, "warned", attempt=1, message=f"warning {number}", hint="h")
    wait_for(
        lambda: any(
            e["data"].get("message") == f"warning {sent - 1}" for e in rig.show("a-1")["events"]
        ),
        "the daemon has read the journal",
    )
    shown = rig.show("a-1")["events"]
    assert len(shown) <= events.MOST + events.SLACK
    assert shown[0]["kind"] == "events_dropped"
    assert len(rig.entries("a-1", "warned")) == sent
    rig.cli("cancel", "a-1")
    rig.wait_state("a-1", str(JobState.CANCELLED))
