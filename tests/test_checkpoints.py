"""A checkpoint is there as a whole or not at all, and the last good one is found."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle.state import checkpoints
from rekindle.state.checkpoints import Position


class Killed(BaseException):
    """Stands for a SIGKILL at a commit point."""


def save(folder: Path, epoch: int, step: int, *, stage: int = 0, end: bool = False,
         finite: bool = True) -> checkpoints.Checkpoint:
    def write(temporary: Path) -> None:
        (temporary / checkpoints.STATE).write_bytes(f"state at {step}".encode() * 10)
        (temporary / "extra.json").write_text("{}")

    return checkpoints.commit(folder, Position(stage, epoch, step, end), write, {"finite": finite})


def flip_a_bit(path: Path) -> None:
    data = bytearray((path / checkpoints.STATE).read_bytes())
    data[5] ^= 1
    (path / checkpoints.STATE).write_bytes(data)


def cut(path: Path) -> None:
    with (path / checkpoints.STATE).open("r+b") as file:
        file.truncate(3)


def empty(path: Path) -> None:
    (path / checkpoints.STATE).write_bytes(b"")


def remove_state(path: Path) -> None:
    (path / checkpoints.STATE).unlink()


def remove_manifest(path: Path) -> None:
    (path / checkpoints.MANIFEST).unlink()


def empty_manifest(path: Path) -> None:
    (path / checkpoints.MANIFEST).write_bytes(b"")


def another_manifest(path: Path) -> None:
    shutil.copy(path.parent / "e0001-s00000010" / checkpoints.MANIFEST, path)


def hollow(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [
    flip_a_bit, cut, empty, remove_state, remove_manifest, empty_manifest, another_manifest, hollow,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused_and_the_older_one_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Last good, not last; and the good one is not touched."""
    older = save(tmp_path, 1, 10)
    newest = save(tmp_path, 2, 20)
    before = {file.name: file.read_bytes() for file in older.path.iterdir()}
    damage(newest.path)

    found = checkpoints.latest_good(tmp_path)

    assert found.checkpoint == older
    assert [refusal.name for refusal in found.refused] == [newest.name]
    assert found.refused[0].reason
    assert {file.name: file.read_bytes() for file in older.path.iterdir()} == before


def test_non_finite_variables_are_refused(tmp_path: Path) -> None:
    """A whole checkpoint of a broken model is still a bad one."""
    good = save(tmp_path, 1, 10)
    save(tmp_path, 2, 20, finite=False)
    found = checkpoints.latest_good(tmp_path)
    assert found.checkpoint == good
    assert "non-finite" in found.refused[0].reason


def test_all_bad_is_told_apart_from_none(tmp_path: Path) -> None:
    """None found with refusals must never be read as *from scratch*."""
    cut(save(tmp_path, 1, 10).path)
    found = checkpoints.latest_good(tmp_path)
    assert found.checkpoint is None
    assert len(found.refused) == 1
    assert checkpoints.latest_good(tmp_path / "none") == checkpoints.Found(None, [])


def test_a_refused_checkpoint_is_kept_with_its_reason(tmp_path: Path) -> None:
    """Quarantine moves, never deletes, and never overwrites an earlier one."""
    for _ in range(2):
        bad = save(tmp_path, 1, 10)
        cut(bad.path)
        where = checkpoints.quarantine(bad, "it is cut off")
        assert (where / checkpoints.STATE).exists()
        assert where.with_name(f"{where.name}.reason.txt").read_text() == "it is cut off\n"
    assert checkpoints.scan(tmp_path) == []
    assert len([p for p in (tmp_path / "quarantine").iterdir() if p.is_dir()]) == 2


POINTS = ["before_write", "before_digest", "before_manifest", "before_rename",
          "before_folder_fsync"]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_commit_point_leaves_the_old_or_the_new(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No commit point leaves something that looks like a checkpoint and is none."""
    save(tmp_path, 1, 10)

    def crash(name: str) -> None:
        if name == point:
            raise Killed

    # a killed process cleans nothing up
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            checkpoints.commit(
                tmp_path, Position(0, 2, 20),
                lambda folder: (folder / checkpoints.STATE).write_bytes(b"x") and None,
                {}, crash_point=crash,
            )

    found = checkpoints.latest_good(tmp_path)
    assert found.refused == []
    assert found.checkpoint is not None
    assert found.checkpoint.name in {"e0001-s00000010", "e0002-s00000020"}
    checkpoints.sweep(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_committing_a_position_again_keeps_the_good_one(tmp_path: Path) -> None:
    """Equal positions hold equal states, so the committed one stays untouched."""
    first = save(tmp_path, 1, 10)
    stamp = (first.path / checkpoints.MANIFEST).stat().st_mtime_ns
    assert save(tmp_path, 1, 10) == first
    assert (first.path / checkpoints.MANIFEST).stat().st_mtime_ns == stamp


def test_committing_over_a_damaged_one_replaces_it(tmp_path: Path) -> None:
    """A bad checkpoint in the way is quarantined, not taken for the new one."""
    flip_a_bit(save(tmp_path, 1, 10).path)
    again = save(tmp_path, 1, 10)
    assert checkpoints.verify(again) is None
    assert (tmp_path / "quarantine" / again.name).is_dir()


def test_prune_keeps_the_newest_good_ones_the_best_and_stage_ends(tmp_path: Path) -> None:
    """A damaged newest one does not count among those kept."""
    for n in range(6):
        save(tmp_path, n, n * 10)
    save(tmp_path, 2, 20, end=True)
    cut(tmp_path / "e0005-s00000050")

    gone = [c.name for c in checkpoints.prune(tmp_path, 2, {"e0001-s00000010"})]

    left = {c.name for c in checkpoints.scan(tmp_path)}
    assert gone == ["e0002-s00000020", "e0000-s00000000"]
    assert left == {"e0005-s00000050", "e0004-s00000040", "e0003-s00000030",
                    "e0002-s00000020-end", "e0001-s00000010"}


@pytest.mark.parametrize("position", [
    Position(0, 0, 0), Position(0, 7, 1400), Position(3, 12345, 123456789, True),
])
def test_a_position_is_what_its_name_says(position: Position) -> None:
    """The name alone tells where a checkpoint belongs."""
    assert Position.parse(position.name) == position


def test_positions_are_ordered_as_training_goes() -> None:
    """Within a stage by step; its end last; then the next stage."""
    ordered = [Position(0, 0, 0), Position(0, 0, 5), Position(0, 1, 10), Position(0, 2, 20),
               Position(0, 2, 20, True), Position(1, 0, 20), Position(1, 1, 30)]
    shuffled = ordered[::-2] + ordered[-2::-2]
    assert sorted(shuffled) == ordered
