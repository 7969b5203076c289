"""Whatever stands in a journal, a heartbeat or a manifest: refused, never raised, never a hang."""

import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rekindle.daemon.verdict import outcome
from rekindle.jobs import heartbeat
from rekindle.state.run import checkpoints, journal

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "state.safetensors",
        "../x",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a\0b",
        "a" * 300,
        "fifo",
        "folder",
        "link",
        "\ud800",
        "manifest.json",
    ]
) | st.text(max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | JSON.map(lambda v: json.dumps(v).encode())
    | st.fixed_dictionaries(
        {
            "format": st.just(1) | JSON,
            "name": st.just("e0001-s00000001"),
            "files": st.dictionaries(NAMES, JSON, max_size=3) | JSON,
            "finite": JSON,
        }
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_manifest_is_good_or_has_a_reason(data: bytes) -> None:
    """Its names lead nowhere: not out of the folder, not into a FIFO."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e0001-s00000001"
        path.mkdir()
        (path / "state.safetensors").write_bytes(b"x")
        (path / "folder").mkdir()
        (path / "link").symlink_to("/etc/passwd")
        os.mkfifo(path / "fifo")
        (path / "manifest.json").write_bytes(data)
        found = checkpoints.scan(Path(folder))
        reason = checkpoints.verify(found[0])
        assert reason is None or reason
        if reason is None:
            assert set(found[0].read_manifest()["files"]) <= {"state.safetensors", "manifest.json"}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"files":' * 50_000, '{"files": {}, "format": "2"}']
)
def test_a_manifest_that_is_deep_or_strange_has_a_reason(tmp_path: Path, text: str) -> None:
    """The reader's stack is not at its mercy."""
    path = tmp_path / "e0001-s00000001"
    path.mkdir()
    (path / "manifest.json").write_text(text)
    assert checkpoints.verify(checkpoints.scan(tmp_path)[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=4))
def test_lines_with_good_sums_and_any_content_are_read(values: list[Any]) -> None:
    """A script can compute the sum as well."""
    lines = b""
    for value in values:
        body = json.dumps(value, separators=(",", ":")).encode()
        lines += body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(lines)
        replay = journal.replay(path)
    assert replay.offset == len(lines)
    assert all(isinstance(entry["kind"], str) for entry in replay.entries)


def test_a_deep_line_is_counted_as_torn(tmp_path: Path) -> None:
    """With a good sum."""
    body = b'{"kind":' + b"[" * 100_000 + b"}"
    path = tmp_path / "journal.jsonl"
    path.write_bytes(body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body))
    assert journal.replay(path).torn == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_heartbeat_is_a_beat_or_none(data: bytes) -> None:
    """The file is the trainer's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heartbeat"
        path.write_bytes(data)
        heartbeat.read(path)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "attempt",
                    "epoch",
                    "step",
                    "error_type",
                    "message",
                    "hint",
                    "trained",
                    "boot_id",
                    "cause",
                    "exit_code",
                    "signal",
                    "stop_requested",
                    "killed_after_grace",
                ]
            ),
            JSON,
            max_size=6,
        ).flatmap(
            lambda e: st.sampled_from(
                ["attempt_started", "resumed", "failed", "attempt_ended", "checkpoint_committed"]
            ).map(lambda k: {**e, "kind": k})
        ),
        max_size=4,
    )
)
@example([{"kind": "attempt_ended", "attempt": 1, "signal": [], "at_step": 3}])
def test_any_entries_make_an_ending(entries: list[dict[str, Any]]) -> None:
    """The verdict must come, whatever the script wrote."""
    outcome.read(entries, 1)
