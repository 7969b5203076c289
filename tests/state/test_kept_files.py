"""Copies of the script's files: each content once, by digest, removed when nothing needs it."""

import hashlib
import os
from pathlib import Path

from rekindle.state.run import checkpoints, kept_files
from rekindle.state.run.checkpoints import Position


def test_equal_content_is_kept_once_and_is_no_hard_link(tmp_path: Path) -> None:
    first, second, folder = tmp_path / "a", tmp_path / "b", tmp_path / "kept"
    first.write_bytes(b"content" * 1000)
    second.write_bytes(b"content" * 1000)
    digest, size = kept_files.add(folder, first)
    assert (digest, size) == kept_files.add(folder, second)
    assert digest == hashlib.sha256(first.read_bytes()).hexdigest()
    assert [digest] == os.listdir(folder)
    first.write_bytes(b"overwritten")  # as Keras and CSVLogger do: in the same inode
    assert (folder / digest).read_bytes() == second.read_bytes()


def test_a_copy_replaces_a_file_with_mode_and_time(tmp_path: Path) -> None:
    target, folder = tmp_path / "below" / "best", tmp_path / "kept"
    (tmp_path / "a").write_bytes(b"one")
    digest, _ = kept_files.add(folder, tmp_path / "a")
    assert kept_files.give_back(folder, digest, target, mode=0o640, mtime_ns=5 * 10**18)
    info = target.stat()
    assert target.read_bytes() == b"one"
    assert (info.st_mode & 0o777, info.st_mtime_ns) == (0o640, 5 * 10**18)
    assert ["best"] == os.listdir(target.parent)


def test_a_damaged_copy_is_not_used(tmp_path: Path) -> None:
    target, folder = tmp_path / "best", tmp_path / "kept"
    target.write_bytes(b"one")
    digest, _ = kept_files.add(folder, target)
    (folder / digest).write_bytes(b"two")
    target.write_bytes(b"three")
    assert not kept_files.give_back(folder, digest, target, mode=0o600, mtime_ns=0)
    assert not kept_files.give_back(folder, "0" * 64, target, mode=0o600, mtime_ns=0)
    assert target.read_bytes() == b"three"
    assert sorted(os.listdir(tmp_path)) == ["best", "kept"]


def test_what_no_checkpoint_needs_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    digests = []
    for text in (b"one", b"two"):
        (tmp_path / "a").write_bytes(text)
        digests.append(kept_files.add(folder, tmp_path / "a")[0])
    (folder / ".tmp-1").write_bytes(b"torn")
    (folder / "notes.txt").write_text("of somebody else")
    checkpoints.commit(
        tmp_path / "checkpoints",
        Position(0, 1, 10),
        lambda where: (where / "state").write_bytes(b"x") and None,
        {"kept": {digests[1]: 3}},
    )
    present = checkpoints.scan(tmp_path / "checkpoints")
    assert kept_files.collect(folder, kept_files.needed(present)) == 3 + 4
    assert sorted(os.listdir(folder)) == sorted([digests[1], "notes.txt"])
    assert not [*kept_files.damaged(folder, present)]
    (folder / digests[1]).write_bytes(b"tw")
    assert [name for name, _ in kept_files.damaged(folder, present)] == [digests[1]]
