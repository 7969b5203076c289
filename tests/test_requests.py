"""Requests are files: understood or refused with a reason, and carried out in their order."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig

from rekindle.daemon.intake import requests
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_what_is_written_is_read(home: Home) -> None:
    """With the further values of the verb; the file is whole from the moment it is seen."""
    path = requests.write(home, "retry", "a-1", from_scratch=True)
    found = requests.read(path)
    assert (found.verb, found.job, found.fields) == ("retry", "a-1", {"from_scratch": True})
    assert path.stat().st_mode & 0o007 == 0
    assert [p for p in home.inbox.iterdir() if p.name.startswith(".")] == []


def test_names_are_in_the_order_of_arrival(home: Home) -> None:
    """`stop` then `release` must not become `release` then `stop`."""
    paths = [requests.write(home, "stop", f"a-{n}") for n in range(20)]
    assert sorted(paths) == paths


def test_an_unknown_verb_is_not_written(home: Home) -> None:
    """Neither by us."""
    with pytest.raises(UsageError):
        requests.write(home, "explode", "a-1")


@pytest.mark.parametrize("text", [
    "", "stop", "[]", "null", "{}", '{"format": 2, "verb": "stop", "job": "a-1"}',
    '{"format": 1, "verb": "stop"}', '{"format": 1, "verb": "explode", "job": "a-1"}',
    '{"format": 1, "verb": ["stop"], "job": "a-1"}', '{"format": 1, "verb": "stop", "job": 1}',
    "[" * 60_000, '{"a":' * 10_000, "9" * 60_000, "x" * 70_000, '"\\ud800"',
])
def test_what_is_no_request_is_refused(tmp_path: Path, text: str) -> None:
    """With a ValueError that says why, whatever it is."""
    path = tmp_path / f"1{requests.SUFFIX}"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        requests.read(path)
    assert str(caught.value)


def test_links_fifos_and_folders_are_not_read(tmp_path: Path) -> None:
    """Nor waited for."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name, error in (("fifo", ValueError), ("folder", ValueError), ("link", OSError)):
        with pytest.raises(error):
            requests.read(tmp_path / name)


JSON: Any = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                         lambda inner: st.lists(inner, max_size=3)
                         | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.fixed_dictionaries({
    "format": st.just(1) | JSON, "verb": st.sampled_from(requests.VERBS) | JSON,
    "job": st.text() | JSON}).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """Nothing but ValueError leaves the parser."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"1{requests.SUFFIX}"
        path.write_bytes(data)
        try:
            found = requests.read(path)
        except ValueError:
            return
        assert found.verb in requests.VERBS
        assert isinstance(found.job, str)


def test_requests_work_while_the_daemon_is_down_and_strange_ones_do_no_harm(
    rig: Rig, tmp_path: Path
) -> None:
    """Each is answered or refused at the next start; a job's id cannot lead out of the home."""
    (tmp_path / "victim").mkdir()
    rig.drop('command = ["true"]\nworkdir = "/"\n', "a.toml")
    for job in ("../../victim", "/etc", "a-1/../../..", "", "a-1\n", "x" * 5000):
        requests.write(rig.home, "cancel", job)
        requests.write(rig.home, "retry", job, from_scratch=True)
    (rig.home.inbox / f"00{requests.SUFFIX}").write_text("{")
    (rig.home.inbox / f"01{requests.SUFFIX}").symlink_to("/etc/passwd")
    os.mkfifo(rig.home.inbox / f"02{requests.SUFFIX}")
    (rig.home.inbox / f"03{requests.SUFFIX}").mkdir()
    bad = rig.home.inbox / f"04{requests.SUFFIX}"
    bad.write_text(json.dumps({"format": 1, "verb": "priority", "job": "a-1", "value": 2**80}))

    assert rig.start("--until-idle").wait(90) == 0

    assert rig.show("a-1")["state"] == "done"
    assert (tmp_path / "victim").is_dir()
    assert not list(rig.home.inbox.glob(f"*{requests.SUFFIX}"))
    for number in range(4):
        assert (rig.home.rejected / f"0{number}{requests.SUFFIX}.error.txt").read_text()
