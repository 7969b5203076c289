"""A checkpoint exists completely or not at all, and the last good one is found."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle.state import durable
from rekindle.state.run import checkpoints, digests
from rekindle.state.run.checkpoints import Position


class Killed(BaseException):
    """Simulate a SIGKILL at a commit point."""


def save(
    folder: Path, epoch: int, step: int, *, stage: int = 0, end: bool = False, finite: bool = True
) -> checkpoints.Checkpoint:
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
    flip_a_bit,
    cut,
    empty,
    remove_state,
    remove_manifest,
    empty_manifest,
    another_manifest,
    hollow,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused_and_the_older_one_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Last good, not last; and the good one is unchanged."""
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
    """A complete checkpoint of a diverged model is not good."""
    good = save(tmp_path, 1, 10)
    save(tmp_path, 2, 20, finite=False)
    found = checkpoints.latest_good(tmp_path)
    assert found.checkpoint == good
    assert "non-finite" in found.refused[0].reason


def test_all_bad_differs_from_none(tmp_path: Path) -> None:
    """Refusals without a good checkpoint must never mean *from scratch*."""
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


def large(folder: Path, data: bytes) -> checkpoints.Checkpoint:
    """Commit a checkpoint of one file."""
    return checkpoints.commit(
        folder,
        Position(0, 1, 10),
        lambda made: (made / checkpoints.STATE).write_bytes(data) and None,
        {},
    )


def test_a_large_file_is_digested_by_chunks_as_the_command_in_its_docstring_does(
    tmp_path: Path,
) -> None:
    data = bytes(range(251)) * 140_000  # two whole chunks and a part
    made = large(tmp_path, data)
    manifest = made.read_manifest()
    assert manifest["format"] == 2
    (entry,) = manifest["files"].values()
    assert entry["bytes"] == len(data)
    command = (digests.digest_of_chunks.__doc__ or "").split("``")[-2]
    assert "split" in command
    ran = subprocess.run(
        ["sh", "-c", command.replace("FILE", str(made.state))], capture_output=True, text=True
    )
    assert ran.stdout.split()[0] == entry["chunks"], ran.stderr
    assert checkpoints.verify(made) is None


@pytest.mark.parametrize("where", [0, digests.CHUNK - 1, digests.CHUNK, -1])
def test_one_flipped_bit_of_a_large_file_is_found(tmp_path: Path, where: int) -> None:
    made = large(tmp_path, bytes(2 * digests.CHUNK + 5))
    data = bytearray(made.state.read_bytes())
    data[where] ^= 1
    made.state.write_bytes(data)
    assert "does not match its digest" in (checkpoints.verify(made) or "")


def test_a_large_file_of_an_earlier_version_is_verified(tmp_path: Path) -> None:
    """Its manifest has one digest of the whole file."""
    made = large(tmp_path, bytes(digests.CHUNK + 1))
    manifest = made.read_manifest()
    whole = {"bytes": digests.CHUNK + 1, "sha256": digests.digest(made.state)}
    older = {**manifest, "format": 1, "files": {checkpoints.STATE: whole}}
    durable.write_json(made.path / checkpoints.MANIFEST, older)
    assert checkpoints.verify(made) is None
    made.state.write_bytes(bytes(digests.CHUNK) + b"x")
    assert "does not match its digest" in (checkpoints.verify(made) or "")


def test_a_small_checkpoint_can_be_read_by_an_earlier_version(tmp_path: Path) -> None:
    manifest = large(tmp_path, b"small").read_manifest()
    assert manifest["format"] == 1
    assert set(manifest["files"][checkpoints.STATE]) == {"bytes", "sha256"}


POINTS = [
    "before_write",
    "before_digest",
    "before_manifest",
    "before_rename",
    "before_folder_fsync",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_commit_point_leaves_the_old_or_the_new(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No commit point leaves an incomplete directory under the name of a checkpoint."""
    save(tmp_path, 1, 10)

    def crash(name: str) -> None:
        if name == point:
            raise Killed

    # a killed process removes nothing
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            checkpoints.commit(
                tmp_path,
                Position(0, 2, 20),
                lambda folder: (folder / checkpoints.STATE).write_bytes(b"x") and None,
                {},
                crash_point=crash,
            )

    found = checkpoints.latest_good(tmp_path)
    assert found.refused == []
    assert found.checkpoint is not None
    assert found.checkpoint.name in {"e0001-s00000010", "e0002-s00000020"}
    checkpoints.sweep(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_committing_a_position_again_keeps_the_good_one(tmp_path: Path) -> None:
    """Equal positions hold equal states, so the committed one stays unchanged."""
    first = save(tmp_path, 1, 10)
    stamp = (first.path / checkpoints.MANIFEST).stat().st_mtime_ns
    assert save(tmp_path, 1, 10) == first
    assert (first.path / checkpoints.MANIFEST).stat().st_mtime_ns == stamp


def test_committing_over_a_damaged_one_replaces_it(tmp_path: Path) -> None:
    """A damaged checkpoint of the same name is quarantined, not kept as the new one."""
    flip_a_bit(save(tmp_path, 1, 10).path)
    again = save(tmp_path, 1, 10)
    assert checkpoints.verify(again) is None
    assert (tmp_path / "quarantine" / again.name).is_dir()


def test_prune_keeps_the_newest_good_ones_the_best_and_stage_ends(tmp_path: Path) -> None:
    """A damaged newest one does not count as kept."""
    for n in range(6):
        save(tmp_path, n, n * 10)
    save(tmp_path, 2, 20, end=True)
    cut(tmp_path / "e0005-s00000050")

    gone = [c.name for c in checkpoints.prune(tmp_path, 2, {"e0001-s00000010"})]

    left = {c.name for c in checkpoints.scan(tmp_path)}
    assert gone == ["e0002-s00000020", "e0000-s00000000"]
    assert left == {
        "e0005-s00000050",
        "e0004-s00000040",
        "e0003-s00000030",
        "e0002-s00000020-end",
        "e0001-s00000010",
    }


def test_prune_keeps_the_newest_good_one_of_a_stage_that_an_exception_ended(tmp_path: Path) -> None:
    """A relaunch must reach the exception again from there; ended stages need their end."""
    for stage in range(3):
        for n in range(4):
            save(tmp_path, n, 100 * stage + n * 10, stage=stage)
    save(tmp_path, 3, 130, stage=1, end=True)
    cut(tmp_path / "e0003-s00000030")

    list(checkpoints.prune(tmp_path, 2, set(), stage=2))

    assert left(tmp_path) == {
        "e0003-s00000230-f2",
        "e0002-s00000220-f2",
        "e0003-s00000130-f1-end",
        "e0003-s00000030",
        "e0002-s00000020",
    }


def test_prune_ignores_a_damaged_end_of_a_stage(tmp_path: Path) -> None:
    """The stage is resumed from the newest good one before it."""
    for n in range(3):
        save(tmp_path, n, n * 10)
    cut(save(tmp_path, 3, 30, end=True).path)
    save(tmp_path, 0, 30, stage=1)

    list(checkpoints.prune(tmp_path, 1, set(), stage=1))

    assert left(tmp_path) == {"e0000-s00000030-f1", "e0003-s00000030-end", "e0002-s00000020"}


def test_prune_keeps_stages_later_than_the_saved_one(tmp_path: Path) -> None:
    """The first stage is repeated: its new checkpoints and those of the later stage stay."""
    for n in range(3):
        save(tmp_path, n, 100 + n * 10, stage=1)
    for n in range(4):
        save(tmp_path, n, n * 10)
        list(checkpoints.prune(tmp_path, 2, set(), stage=0))
    assert left(tmp_path) == {
        "e0003-s00000030",
        "e0002-s00000020",
        "e0002-s00000120-f1",
        "e0001-s00000110-f1",
        "e0000-s00000100-f1",
    }


def test_prune_keeps_as_many_non_finite_ones_as_good_ones_beside_them(tmp_path: Path) -> None:
    """Training on after NaN must not fill the disk, nor remove the good ones."""
    for n in range(9):
        save(tmp_path, n, n * 10, finite=n < 3)
        list(checkpoints.prune(tmp_path, 2, set()))
    assert left(tmp_path) == {
        "e0008-s00000080",
        "e0007-s00000070",
        "e0002-s00000020",
        "e0001-s00000010",
    }


def test_prune_verifies_no_checkpoint_twice(tmp_path: Path) -> None:
    """Verdicts are cached; a non-finite one is not read at all."""
    verdicts: dict[str, str | None] = {}
    for n in range(4):
        save(tmp_path, n, n * 10, finite=n < 3)
    remove_state(tmp_path / "e0003-s00000030")
    assert list(checkpoints.prune(tmp_path, 9, set(), verdicts=verdicts)) == []
    assert verdicts.pop("e0003-s00000030") == checkpoints.NON_FINITE
    assert verdicts == {f"e000{n}-s000000{n}0": None for n in range(3)}
    remove_state(tmp_path / "e0002-s00000020")
    gone = list(checkpoints.prune(tmp_path, 1, set(), verdicts=verdicts))
    assert [checkpoint.position.epoch for checkpoint in gone] == [1, 0]
    assert not {checkpoint.name for checkpoint in gone} & verdicts.keys()


def left(folder: Path) -> set[str]:
    return {checkpoint.name for checkpoint in checkpoints.scan(folder)}


@pytest.mark.parametrize(
    "position", [Position(0, 0, 0), Position(0, 7, 1400), Position(3, 12345, 123456789, True)]
)
def test_a_position_round_trips_through_its_name(position: Position) -> None:
    """The name alone defines the position of a checkpoint."""
    assert Position.parse(position.name) == position


def test_positions_sort_in_training_order() -> None:
    """Within a stage by step; its end last; then the next stage."""
    ordered = [
        Position(0, 0, 0),
        Position(0, 0, 5),
        Position(0, 1, 10),
        Position(0, 2, 20),
        Position(0, 2, 20, True),
        Position(1, 0, 20),
        Position(1, 1, 30),
    ]
    shuffled = ordered[::-2] + ordered[-2::-2]
    assert sorted(shuffled) == ordered


@pytest.mark.parametrize("place", ["before_write", "in_write", "before_manifest", "after_manifest"])
def test_a_kill_at_any_point_of_a_reduction_leaves_one_complete_state(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = save(tmp_path, 1, 10, end=True)
    plain_unlink = Path.unlink

    def kill(*_: object, **__: object) -> None:
        raise Killed

    def write(file: Path) -> None:
        if place == "before_write":
            raise Killed
        file.write_bytes(b"sta" if place == "in_write" else b"small")
        if place == "in_write":
            raise Killed

    # a kill removes nothing either
    monkeypatch.setattr(Path, "unlink", kill)
    with pytest.raises(Killed):
        checkpoints.reduce(end, write, crash_point=kill if place == "before_manifest" else print)
    monkeypatch.setattr(Path, "unlink", plain_unlink)
    checkpoints.sweep(tmp_path)
    assert checkpoints.verify(end) is None
    assert end.is_reduced == (place == "after_manifest")
    assert end.state.read_bytes() == (b"small" if end.is_reduced else b"state at 10" * 10)
    assert 1 == len(list(end.path.glob("*.safetensors")))


def test_a_reduction_that_fails_leaves_the_checkpoint_as_it_was(tmp_path: Path) -> None:
    end = save(tmp_path, 1, 10, end=True)

    def fail(file: Path) -> None:
        file.write_bytes(b"sm")
        raise OSError("no space left")

    before = sorted(file.name for file in end.path.iterdir())
    with pytest.raises(OSError, match="no space"):
        checkpoints.reduce(end, fail)
    assert before == sorted(file.name for file in end.path.iterdir())
    assert checkpoints.verify(end) is None
    assert not end.is_reduced


def test_the_other_files_of_a_reduced_checkpoint_stay(tmp_path: Path) -> None:
    end = save(tmp_path, 1, 10, end=True)
    checkpoints.reduce(end, lambda file: file.write_bytes(b"small") and None)
    assert ["extra.json", checkpoints.MANIFEST, checkpoints.REDUCED] == sorted(
        file.name for file in end.path.iterdir()
    )
    assert checkpoints.verify(end) is None
    flipped = end.state.read_bytes().replace(b"a", b"b")
    end.state.write_bytes(flipped)
    assert "does not match its digest" in (checkpoints.verify(end) or "")
