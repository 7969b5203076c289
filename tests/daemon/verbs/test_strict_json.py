"""The output of `--json` is strict JSON, whatever a script wrote; errors as well.

Kinds of source: Python tools whose metrics were NaN, so that `jq`, Go and JavaScript refused the
whole output; command lines whose `--json` printed errors, and wrong usage above all, as prose.
"""

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, environment
from test_json import documented, fields

from rekindle.daemon.client import cli, json_text
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

VALUE: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def strict(text: str) -> Any:
    """Parse JSON as the standard has it: Python's parser takes more."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    text.encode("ascii")
    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()  # half a pair of surrogates has no encoding
    return value


@settings(max_examples=80, deadline=None)
@given(VALUE)
def test_any_value_becomes_strict_json(value: Any) -> None:
    """Without a loss where JSON can express it."""
    found = strict(json_text.dumps(value))
    try:
        plain = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return
    assert found == json.loads(plain)


def test_numbers_that_are_not_finite_and_odd_bytes_are_strings() -> None:
    """A loss that diverged, the `-inf` of an empty maximum, a file name in Latin-1."""
    value = {"loss": math.nan, "a": [math.inf, -math.inf, 1.5], "file": os.fsdecode(b"na\xefve")}
    assert strict(json_text.dumps(value)) == {
        "loss": "NaN",
        "a": ["Infinity", "-Infinity", 1.5],
        "file": "na\\udcefve",
    }
    assert strict(json_text.dumps("\N{GRINNING FACE} \u20ac")) == "\N{GRINNING FACE} \u20ac"


def test_a_list_is_printed_item_by_item(capsys: pytest.CaptureFixture[str]) -> None:
    """An iterator is never held in memory as a whole."""
    printed = []

    def items() -> Any:
        for number in range(3):
            yield {"n": number}
            printed.append(capsys.readouterr().out)

    json_text.write({"a": 1, "empty": iter(()), "rows": items(), "z": None})
    assert all(f'"n": {number}' in text for number, text in enumerate(printed))
    text = "".join(printed) + capsys.readouterr().out
    rows = [{"n": 0}, {"n": 1}, {"n": 2}]
    assert strict(text) == {"format": 2, "a": 1, "empty": [], "rows": rows, "z": None}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a job whose records hold what a script may write."""
    made = Home(tmp_path / "home")
    made.create()
    ledger = Ledger.open(made.ledger)
    ledger.insert_job(
        "odd-1",
        name="odd",
        number=1,
        run_dir=str(made.run("odd-1").root),
        priority=0,
        spec="{}",
        claim=None,
        submitted_at=time.time(),
    )
    ledger.begin_attempt("odd-1", 1, time.time())
    entry = {"v": 1, "t": 5.0, "attempt": 1}
    ledger.ingest(
        "odd-1",
        [
            {
                **entry,
                "kind": "epoch_ended",
                "epoch": 0,
                "step": 1,
                "logs": {"loss": math.nan, "max": math.inf, "file": "na\udcefve [bold] \x1b[31m"},
            },
            {**entry, "kind": "warned", "message": "half \ud83d of a pair", "hint": "h"},
        ],
        0,
    )
    ledger.close()
    (made.inbox / os.fsdecode(b"na\xefve.toml")).write_text("")
    return made


def run(
    home: Home, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> dict[str, Any]:
    """Run a verb with ``--json`` in this process."""
    assert cli.main(["--home", str(home.root), *words, "--json"]) == code, capsys.readouterr()
    said = capsys.readouterr()
    assert said.err == ""
    value: dict[str, Any] = strict(said.out)
    assert value["format"] == 2
    return value


def test_what_a_script_wrote_is_printed_as_strict_json(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ls` and `show` of a job with NaN, infinity and text that no encoding has."""
    shown = run(home, capsys, "show", "odd")
    assert shown["epochs"][0]["logs"]["loss"] == "NaN"
    assert shown["epochs"][0]["logs"]["max"] == "Infinity"
    assert shown["events"][-1]["data"]["message"] == "half \\ud83d of a pair"
    assert run(home, capsys, "ls")["inbox"] == ["na\\udcefve.toml"]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_reads_it(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser that scripts use most."""
    text = json.dumps(run(home, capsys, "show", "odd"))
    asked = subprocess.run(
        ["jq", "-r", ".epochs[0].logs.loss"], input=text, capture_output=True, text=True, check=True
    )
    assert asked.stdout == "NaN\n"


def test_people_can_read_any_character_in_any_encoding(home: Home) -> None:
    """No traceback where the output's encoding does not have a character."""
    for encoding in ("ascii",):
        for verb in (["ls"], ["show", "odd"]):
            done = subprocess.run(
                [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), *verb],
                capture_output=True,
                env=environment(PYTHONIOENCODING=encoding),
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, b""), (encoding, verb, done.stderr)
            assert b"odd-1" in done.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "nobody"], 3),
        (["logs", "odd", "--attempt", "7"], 3),
        (["stop", "nobody"], 3),
        (["submit", "missing.toml"], 3),
        (["export", "odd", "--to", "x.keras"], 3),
        (["show"], 2),
        (["ls", "--state", "tired"], 2),
        (["ls", "--no-such-option"], 2),
        (["no-such-verb"], 2),
        (["release", "odd", "--max-runtime", "soon"], 2),
    ],
    ids=str,
)
def test_an_error_is_json_with_the_same_exit_code(
    home: Home, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    """Also wrong usage, which the parser of the command line finds."""
    error = run(home, capsys, *words, code=code)["error"]
    assert error.keys() == {"what", "where", "hint", "code"}
    assert error["what"]
    assert error["hint"]
    assert error["code"] == code
    try:
        plain = cli.main(["--home", str(home.root), *words])
    except SystemExit as left:
        plain = int(str(left.code))
    assert plain == code


def test_a_home_that_cannot_be_used_and_a_bug_are_json(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a sentence nor a traceback."""
    with sqlite3.connect(home.ledger) as ledger:
        ledger.execute("UPDATE jobs SET state = 'tired'")
    ledger.close()
    error = run(home, capsys, "show", "odd", code=1)["error"]
    assert "'tired' is not a valid JobState" in error["what"]
    assert "This is a bug" in error["hint"]
    home.ledger.write_bytes(b"no ledger" * 1000)
    assert "damaged" in run(home, capsys, "ls", code=4)["error"]["what"]
    missing = Home(home.root / "nowhere")
    assert run(missing, capsys, "show", "odd", code=3)["error"]["code"] == 3


def test_the_acting_verbs_print_the_documented_fields(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a daemon and without one; `done` says whether it was or will be done."""
    spec = tmp_path / "nap.toml"
    spec.write_text("command = ['sleep', '1000']\n")
    rig.start()
    while not rig.home.daemon_status.exists():
        time.sleep(0.02)
    submitted = run(rig.home, capsys, "submit", str(spec))
    assert documented("## `rekindle submit FILE --json`") == fields(submitted)
    assert submitted["job"] == "nap-1"
    assert cli.main(["--home", str(rig.home.root), "submit", "--quiet", str(spec)]) == 0
    assert capsys.readouterr().out == "nap-2\n"
    rig.wait_state("nap-1", "running")
    for words, code, done in (
        (["priority", "nap", "3"], 0, True),
        (["pause"], 0, True),
        (["resume"], 0, True),
        (["stop", "nap-1"], 0, True),
        (["release", "nap-1"], 0, True),
        (["cancel", "nap-1", "nap-2"], 0, True),
        (["release", "nap-2"], 1, False),
        (["stop", "nap-2"], 1, False),
    ):
        if code:
            rig.wait_state("nap-2", "cancelled")
        said = run(rig.home, capsys, *words, code=code)
        assert documented("`resume` print\n") == fields(said)
        assert said["verb"] == words[0]
        for request in said["requests"]:
            assert documented("Each of `requests`:") == fields(request)
            assert (request["done"], request["code"]) == (done, code), request
    waited = run(rig.home, capsys, "wait", "nap-1", code=1)
    assert documented("## `rekindle wait JOB --json`") == fields(waited)
    assert [job["state"] for job in waited["jobs"]] == ["cancelled"]
    found = run(rig.home, capsys, "logs", "nap-1")
    assert documented("## `rekindle logs JOB --json`") == fields(found)
    assert [log["attempt"] for log in found["logs"]] == [1]
    archive = str(tmp_path / "nap.tar")
    packed = run(rig.home, capsys, "export-run", "nap-1", "--to", archive)
    assert documented("## `rekindle export-run JOB --to FILE --json`") == fields(packed)
    assert run(rig.home, capsys, "import-run", archive)["job"] == "nap-3"
    removed = run(rig.home, capsys, "prune", "--yes")
    assert documented("With `--yes` it prints instead") == fields(removed)
    assert rig.end() == 0
    [request] = run(rig.home, capsys, "retry", "nap-1")["requests"]
    assert (request["done"], request["code"]) == (None, 0)
    assert "No daemon is running" in request["answer"]
    assert len(list(rig.home.inbox.glob("*.json"))) == 1


def test_install_prints_its_steps_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both verbs, without changing anything."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for verb in ("install", "uninstall"):
        assert cli.main([verb, "--user", "--dry-run", "--json"]) == 0
        said = strict(capsys.readouterr().out)
        assert documented("## `rekindle install --json`") == fields(said)
        assert said["steps"]
