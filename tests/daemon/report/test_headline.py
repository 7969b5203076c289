"""The headline counts what happened: hours in the period, repeated steps, and what was of use."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.client.morning import Morning
from rekindle.daemon.report import headline, summary
from rekindle.daemon.report.facts import Facts, JobFacts, Saved
from rekindle.daemon.report.needs import command_in
from rekindle.state.ledger.period import Best, Turn
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

NOW = 1_000_000.0
HOUR = 3600.0


def turn(
    n: int, began: float, hours: float | None, cause: str | None = "done", **more: Any
) -> Turn:
    """Make an attempt that began ``began`` hours ago."""
    start = NOW - began * HOUR
    fields: dict[str, Any] = dict.fromkeys(Turn.__dataclass_fields__)
    fields |= {
        "n": n,
        "started_at": start,
        "ended_at": None if hours is None else start + hours * HOUR,
        "outcome": cause,
        "cause": cause,
        "seconds": None if hours is None else hours * HOUR,
        "from_step": 0,
        "to_step": 1000 * n,
        **more,
    }
    return Turn(**fields)


def job(name: str, state: JobState, *turns: Turn, **more: Any) -> JobFacts:
    fields: dict[str, Any] = dict.fromkeys(JobRow.__dataclass_fields__)
    row = JobRow(
        **fields
        | {
            "id": f"{name}-1",
            "name": name,
            "state": state,
            "reason": "",
            "hint": "",
            "attempts": len(turns),
            "updated_at": NOW,
            **{key: more.pop(key) for key in ("reason", "hint") if key in more},
        }
    )
    return JobFacts(row, turns, **more)


def receipt(steps: int, *, seconds: float = 0.0, **proof: Any) -> dict[str, Any]:
    proofs = [{"stage": 0, "of": steps, "steps": steps, **proof}] if proof else []
    return {"checkpoint": "e1-s9", "lost_seconds": seconds, "proved": proofs}


def facts(*jobs: JobFacts, hours: float = 12.0, **home: Any) -> Facts:
    """Make the facts of the last ``hours``."""
    names = [field.name for field in dataclasses.fields(Morning)]
    nothing: dict[str, Any] = dict.fromkeys(names) | {
        "home": Home(Path("/home")),
        "waiting": [],
        "left_alone": [],
        "refused": [],
        "gpus": [],
        "trouble": "",
        "served": True,
        "full": False,
        "log": "",
        "not_taken": {},
    }
    counts = {state: sum(one.row.state == state for one in jobs) for state in JobState}
    morning = Morning(**nothing | home)
    return Facts(NOW - hours * HOUR, NOW, tuple(jobs), counts, (), morning, None)


def test_the_headline_of_the_issue() -> None:
    """Jobs on GPUs; what is repeated is of no use, whoever proved it identical."""
    identical = {"result": "identical"}
    three = [job(f"fine{n}", JobState.DONE, turn(1, 4, 2.0, gpus=["a"])) for n in range(2)]
    cut = job(
        "cut",
        JobState.DONE,
        turn(1, 7, 3.0, "crash", gpus=["a"]),
        turn(
            2,
            4,
            2.0,
            "crash",
            gpus=["a"],
            lost_steps=8,
            receipt=receipt(8, seconds=1800, **identical),
        ),
        turn(3, 2, 1.0, gpus=["a"], lost_steps=4, receipt=receipt(4, seconds=1080, **identical)),
    )
    held = job("held", JobState.HELD, turn(1, 4, 2.0, "stopped", gpus=["b"]))
    found = headline.of(facts(*three, cut, held))
    assert found.text == (
        "3 done, 1 held, 2 interruptions survived, 0 steps lost, 12 repeated and proved identical, "
        "11.2 of 12.0 GPU-hours useful."
    )


def test_hours_are_those_in_the_period() -> None:
    """Of an attempt that began before it, the part in it; of a running one, up to now."""
    found = headline.of(
        facts(
            job("long", JobState.DONE, turn(1, 20, 18.0)),
            job("runs", JobState.RUNNING, turn(1, 3, None, None)),
        )
    )
    assert (found.hours, found.useful, found.gpus) == (pytest.approx(13), pytest.approx(13), False)


def test_an_attempt_that_died_with_the_daemon_counts_up_to_its_last_sign_of_life() -> None:
    """The ledger says that it runs until a daemon has looked."""
    dead = job("dead", JobState.RUNNING, turn(1, 8, None, None), seen=NOW - 6 * HOUR)
    assert headline.of(facts(dead)).hours == pytest.approx(2)


def test_a_hint_of_an_older_ledger_names_the_job() -> None:
    held = job("x", JobState.HELD, hint="`rekindle release` lets it continue.", reason="Stopped.")
    [need] = summary.of(facts(held)).needs
    assert (need.command, need.hint) == (
        "rekindle release x-1",
        "`rekindle release x-1` lets it continue.",
    )


def test_two_gpus_count_twice_and_cpu_jobs_do_not_beside_them() -> None:
    found = headline.of(
        facts(
            job("wide", JobState.DONE, turn(1, 3, 2.0, gpus=["a", "b"])),
            job("cpu", JobState.DONE, turn(1, 3, 2.0, gpus=[])),
        )
    )
    assert (found.hours, found.gpus) == (pytest.approx(4), True)


def test_an_attempt_that_trained_no_step_was_of_no_use() -> None:
    found = headline.of(
        facts(
            job(
                "mistake",
                JobState.FAILED,
                turn(1, 5, 1.0, "crash", to_step=None),
                turn(2, 4, 1.0, "mistake", to_step=0),
                furthest=0,
            )
        )
    )
    assert (found.hours, found.useful, found.survived) == (pytest.approx(2), 0, 0)


def test_steps_of_a_cancelled_job_that_no_checkpoint_holds_are_lost() -> None:
    ended = job("gone", JobState.CANCELLED, turn(1, 2, 1.0, "stopped"), furthest=1000, kept=750)
    found = headline.of(facts(ended))
    assert found.lost == 250
    assert found.useful == pytest.approx(0.75)
    assert "250 steps lost" in found.text


def test_what_was_not_proved_is_not_said_to_be() -> None:
    """Steps of a command that nobody counts, a difference, and steps that were not compared."""
    found = headline.of(
        facts(
            job(
                "cut",
                JobState.DONE,
                turn(1, 4, 1.0, "crash"),
                turn(2, 3, 1.0, lost_steps=30, receipt=receipt(8, result="identical")),
            ),
            job(
                "differs",
                JobState.DONE,
                turn(1, 4, 1.0, "crash"),
                turn(2, 3, 1.0, lost_steps=5, receipt=receipt(5, result="different")),
            ),
            job(
                "command",
                JobState.DONE,
                turn(1, 4, 1.0, "crash"),
                turn(2, 3, 1.0, receipt=receipt(0)),
            ),
        )
    )
    assert "35 repeated, 8 of them proved identical, not identical in 1 job" in found.text
    assert "1 relaunch whose steps nobody counts" in found.text


def test_a_result_is_compared_with_the_last_one_of_that_name() -> None:
    better = Best("val_accuracy", 0.9, 4, higher=True)
    worse = Best("val_accuracy", 0.8, 2, higher=True)
    saved = Saved("e5", "/runs/x/e5", 500, best=True)
    for mine, theirs, expected in ((better, worse, True), (worse, better, False)):
        one = job("x", JobState.DONE, best=mine, before=("x-0", theirs), saved=saved)
        [done] = summary.of(facts(one)).done
        assert (done.better, done.before) == (expected, "x-0")
        assert done.export == "rekindle export x-1 --best --to x-1.keras"
    other = job("x", JobState.DONE, best=better, before=("x-0", Best("loss", 0.8, 2, higher=False)))
    assert summary.of(facts(other)).done[0].better is None


@pytest.mark.parametrize(
    ("hint", "command"),
    [
        (
            "Read `rekindle logs a-1`, then `rekindle release a-1 --new-code`.",
            "release a-1 --new-code",
        ),
        ("`rekindle export a-1 --to a.keras`, or `rekindle retry a-1`.", "retry a-1"),
        ("`rekindle logs a-1` shows where; `limits.hang_timeout` sets the limit.", "logs a-1"),
        ("Ask an administrator.", "default"),
    ],
)
def test_of_several_commands_the_one_that_continues_the_job_is_named(
    hint: str, command: str
) -> None:
    assert command_in(hint, "rekindle default") == f"rekindle {command}"


def test_a_job_that_ended_inside_of_a_training_needs_a_person() -> None:
    """Its exit code is 0, so that it is done."""
    hint = "To continue the training: `rekindle retry x-1`."
    reason = "The script ended with exit code 0 inside an unfinished training (epoch 3 of 12)."
    one = job("x", JobState.DONE, turn(1, 2, 1.0), reason=reason, hint=hint)
    [need] = summary.of(facts(one)).needs
    assert (need.text, need.command) == (reason, "rekindle retry x-1")


def test_unfollowed_and_differing_jobs_need_a_look_though_they_are_done() -> None:
    unfollowed = job("u", JobState.DONE, turn(1, 2, 1.0, unfollowed="This is not followed."))
    differs = job("d", JobState.RUNNING, turn(2, 2, None, None, receipt={"differed_in": 2}))
    found = summary.of(facts(unfollowed, differs)).needs
    assert [(one.about, one.command) for one in found] == [
        ("u-1", "rekindle show u-1"),
        ("d-1", "rekindle show d-1"),
    ]
