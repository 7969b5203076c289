"""`report` and `ls` say what a night was, in one order, with commands that work."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nights import Night
from rig import ROOT, environment, wait_for

from rekindle.daemon.client import cli
from rekindle.daemon.report import since
from rekindle.state.errors import UsageError

SECTIONS = ["Needs you", "Done", "Running", "Refused", "Timeline", "Host"]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Run a night: two jobs done, one held, one failed, one refused, one for the next day."""
    root = tmp_path_factory.mktemp("night")
    made = Night(root / "home", root / "work")
    try:
        made.submit("good", args="--steps 20")
        made.submit("cut", args="--steps 40 --fault raise@22 --once")
        made.submit("mistake", args="--steps 40 --fault raise@start")
        made.submit("poison", args="--steps 40 --fault raise@13")
        made.drop(f'name = "fixed"\nscrpt = "{sys.executable}"\n', "broken.toml")
        made.until_idle()
        assert made.states() == {
            "good-1": "done",
            "cut-1": "done",
            "mistake-1": "failed",
            "poison-1": "held",
        }
        yield made
    finally:
        made.close()


def report(night: Night, *words: str) -> Any:
    return json.loads(night.cli("report", "--json", *words))


def test_the_headline_is_one_in_ls_report_and_json(night: Night) -> None:
    """A job that failed at once and one that stopped at the same batch were not survived."""
    found = report(night)
    headline = found["headline"]
    counts = {key: headline[key] for key in ("done", "held", "failed", "survived", "lost")}
    assert counts == {"done": 2, "held": 1, "failed": 1, "survived": 1, "lost": 0}
    assert headline["repeated"] == sum(
        attempt["lost_steps"] or 0
        for job in night.states()
        for attempt in night.show(job)["attempts"][1:]
    )
    assert 0 < headline["useful"] <= headline["hours"]
    assert re.search("2 done, 1 held, 1 failed, 1 interruption survived, 0 steps", headline["text"])
    for verb in ("ls", "report"):
        first = night.cli(verb).splitlines()[0]
        assert headline["text"].partition(" of ")[0][:60] in first


def test_report_and_ls_have_one_order(night: Night) -> None:
    """Needs of a person come first; an empty section is left out."""
    said = night.cli("report")
    titles = [line for line in said.splitlines() if line in SECTIONS]
    assert titles == [one for one in SECTIONS if one != "Running"]
    listed = re.findall(r"^([a-z]+-\d+) ", night.cli("ls"), re.MULTILINE)
    assert listed == ["poison-1", "mistake-1", "good-1", "cut-1"] or listed == [
        "poison-1",
        "mistake-1",
        "cut-1",
        "good-1",
    ]


def test_the_timeline_has_each_end_with_its_cause(night: Night) -> None:
    """In the order of time; the decision follows the end that it is about."""
    timeline = report(night)["timeline"]
    assert [one["at"] for one in timeline] == sorted(one["at"] for one in timeline)
    of_poison = [f"{one['what']}: {one['cause']}" for one in timeline if one["job"] == "poison-1"]
    assert of_poison[:3] == [
        "accepted: ",
        "attempt 1 started: ",
        "interrupted: crash (exit code 1)",
    ]
    assert of_poison[3].startswith("attempt 2 resumed: from e0000-s00000010, repeating 3 steps")
    assert of_poison[4] == "interrupted: poison (exit code 1)"
    assert of_poison[5].startswith("held: It failed twice at the same batch")
    assert any(one["what"] == "spec rejected" for one in timeline)


def test_a_done_job_says_where_its_model_is(night: Night) -> None:
    for one in report(night)["done"]:
        assert Path(one["model"]).is_dir()
        assert Path(one["model"]).parent.parent.name == one["id"]
        assert one["export"] == f"rekindle export {one['id']} --to {one['id']}.keras"


def test_each_command_to_type_works(night: Night, tmp_path: Path) -> None:
    """As it is printed: the held job continues, the failed one runs again, the file is accepted."""
    # a copy: the other tests look at the home as the night left it
    shutil.copytree(night.home.root, tmp_path / "home", symlinks=True)
    night = Night(tmp_path / "home", night.work)
    said = night.cli("report")
    commands = [
        line.strip() for line in said.splitlines() if line.startswith("    rekindle --home")
    ]
    typed = [one for one in commands if " export " not in one]
    assert [shlex.split(one)[3:] for one in typed] == [
        ["release", "poison-1"],
        ["retry", "mistake-1"],
    ]
    moves = [line.strip() for line in said.splitlines() if line.startswith("    mv ")]
    [rejected] = night.home.rejected.glob("*.toml")
    rejected.write_text(f'name = "fixed"\ncommand = ["{sys.executable}", "-c", ""]\n')
    night.start()
    try:
        for command in [*typed, *moves]:
            words = shlex.split(command)
            if words[0] == "rekindle":
                words[:1] = [sys.executable, "-m", "rekindle.daemon"]
            done = subprocess.run(
                words, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        wait_for(lambda: night.states().get("fixed-1") == "done", "the corrected spec", 30)
        for job in ("poison-1", "mistake-1"):
            night.wait_state(job, "held", "failed", seconds=60)
            assert night.show(job)["attempts"][-1]["n"] > 2, job
    finally:
        night.close()


def test_a_period_without_anything_says_so(tmp_path: Path) -> None:
    """Also before the first daemon; the one need is a daemon, where something waits for it."""
    night = Night(tmp_path / "home", tmp_path)
    assert "Nothing ran." in night.cli("report")
    assert report(night)["needs_you"] == []
    night.drop('name = "x"\ncommand = ["true"]\n', "waits.toml")
    [need] = report(night)["needs_you"]
    assert (need["about"], need["command"]) == ("daemon", "rekindle run")


@pytest.mark.parametrize(
    ("text", "back"), [("12h", 12 * 3600), ("3 days", 3 * 86400), ("90 min", 5400)]
)
def test_since_is_a_duration(text: str, back: float) -> None:
    now = time.time()
    assert since.parse(text, now) == pytest.approx(now - back, abs=3700)  # of summer time


def test_since_is_the_latest_such_time_of_day_or_a_date() -> None:
    noon = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
    assert since.parse("18:00", noon) == time.mktime((2026, 11, 26, 18, 0, 0, 0, 0, -1))
    assert since.parse("06:30", noon) == time.mktime((2026, 11, 27, 6, 30, 0, 0, 0, -1))
    assert since.parse("2026-11-20", noon) == time.mktime((2026, 11, 20, 0, 0, 0, 0, 0, -1))
    late = time.mktime((2026, 11, 25, 7, 5, 0, 0, 0, -1))
    assert since.parse("2026-11-25 07:05", noon) == late


@pytest.mark.parametrize("text", ["yesterday", "", "2027-01-01", "25:00", "-3h", "9" * 40 + "h"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    now = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
    with pytest.raises(UsageError, match="--since"):
        since.parse(text, now)


def test_report_of_no_home_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--home", str(tmp_path / "none"), "report"]) == 3
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_home_of_an_older_version_is_reported(tmp_path: Path) -> None:
    """Before its first newer daemon: the ledger is opened for reading, with the columns it has."""
    [archive] = sorted((ROOT / "tests" / "homes").glob("*.tar.gz"))[:1]
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="tar")
    old = Night(tmp_path / "home", tmp_path)
    found = report(old, "--since", "2000-01-01")
    assert found["headline"]["done"] + found["headline"]["held"] > 0
    assert found["timeline"]
    assert found["headline"]["text"] in old.cli("report", "--since", "2000-01-01")
    assert "Since" in old.cli("ls")
