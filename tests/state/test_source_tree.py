"""A damaged snapshot of code is detected."""

import hashlib
import json
from pathlib import Path

import pytest

from rekindle.state import source_tree


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    """Create a snapshot of two files; return it with its digest."""
    tree = tmp_path / "store" / source_tree.TREE
    tree.mkdir(parents=True)
    files = {}
    for name, text in {"train.py": "import model", "words.txt": "one two"}.items():
        (tree / name).write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        files[name] = {"sha256": digest, "bytes": len(text), "mode": 0o644}
    record = {"format": 1, "files": files}
    tree.with_name(source_tree.FILES).write_text(json.dumps(record))
    return tree, hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def test_a_whole_snapshot_has_no_damage(stored: tuple[Path, str]) -> None:
    assert source_tree.damage(*stored) is None


def test_each_damage_is_reported(stored: tuple[Path, str]) -> None:
    tree, digest = stored
    assert source_tree.damage(tree, "0" * 64) is not None
    (tree / "train.py").write_text("import other")
    assert source_tree.damage(tree, digest) == ("train.py has changed since the snapshot was taken")
    (tree / "train.py").unlink()
    assert source_tree.damage(tree, digest) == "train.py is missing"
    tree.with_name(source_tree.FILES).write_text("[")
    assert "cannot be read" in (source_tree.damage(tree, digest) or "")
    tree.with_name(source_tree.FILES).unlink()
    assert source_tree.damage(tree, digest) == "files.json is missing"


def test_data_that_changed_is_listed_and_code_is_not(
    stored: tuple[Path, str], tmp_path: Path
) -> None:
    """Code comes from the snapshot; the script reads the original data."""
    tree, _ = stored
    (tmp_path / "train.py").write_text("import other")
    (tmp_path / "words.txt").write_text("one two")
    assert source_tree.changed_data(tree, tmp_path) == []
    (tmp_path / "words.txt").write_text("one six")
    assert source_tree.changed_data(tree, tmp_path) == ["words.txt"]
    (tmp_path / "words.txt").unlink()
    assert source_tree.changed_data(tree, tmp_path) == ["words.txt"]
