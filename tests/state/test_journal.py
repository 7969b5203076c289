"""The journal keeps every complete line and skips torn ones."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rekindle.state.run import journal


def test_replay_returns_entries_in_order_with_their_fields(tmp_path: Path) -> None:
    """Oldest first."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "epoch_ended", attempt=1, epoch=0, logs={"loss": 0.5})
    journal.append(path, "epoch_ended", attempt=1, epoch=1, logs={"loss": float("nan")})

    replay = journal.replay(path)

    assert [(e["kind"], e["epoch"]) for e in replay.entries] == [
        ("epoch_ended", 0),
        ("epoch_ended", 1),
    ]
    assert replay.torn == 0
    assert replay.offset == path.stat().st_size


def test_a_missing_journal_has_no_entries(tmp_path: Path) -> None:
    """A run that never started has no journal yet."""
    assert journal.replay(tmp_path / "none").entries == []


def test_replay_continues_at_the_offset_of_the_last_one(tmp_path: Path) -> None:
    """The offset separates read entries from new ones."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "a")
    first = journal.replay(path)
    journal.append(path, "b")

    assert [e["kind"] for e in journal.replay(path, first.offset).entries] == ["b"]


def test_a_torn_last_line_is_left_until_it_is_complete(tmp_path: Path) -> None:
    """An unfinished line is neither returned nor skipped."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "a")
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"v":1,"t":0,"kind":"b"')

    replay = journal.replay(path)

    assert [e["kind"] for e in replay.entries] == ["a"]
    assert (replay.offset, replay.torn) == (whole, 0)


def test_a_line_after_a_torn_one_is_not_swallowed(tmp_path: Path) -> None:
    """The next writer starts a new line, and the torn one is counted."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "a")
    with path.open("ab") as file:
        file.write(b'{"v":1,"t":0,"kind":"b"')
    journal.append(path, "c")

    replay = journal.replay(path)

    assert [e["kind"] for e in replay.entries] == ["a", "c"]
    assert replay.torn == 1


def test_a_changed_character_is_detected(tmp_path: Path) -> None:
    """A line that is valid JSON with a wrong checksum is skipped."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "epoch_ended", epoch=17)
    path.write_bytes(path.read_bytes().replace(b'"epoch":17', b'"epoch":71'))

    replay = journal.replay(path)

    assert replay.entries == []
    assert replay.torn == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    """Garbage is counted and raises nothing: the user's script can write the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(data)
        assert journal.replay(path).offset <= len(data)


def test_fields_that_json_does_not_know_are_written_as_text(tmp_path: Path) -> None:
    """A numpy scalar or a path in a log must not cost the whole line."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "warned", message=tmp_path)
    assert journal.replay(path).entries[0]["message"] == str(tmp_path)
    assert json.loads(path.read_text())["v"] == journal.VERSION
