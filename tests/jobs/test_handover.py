"""A snapshot goes through shared memory to the keeper, and from there past the page cache."""

import contextlib
import json
import os
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.handover.image import PAGE
from rekindle.jobs.handover.order import Order
from rekindle.jobs.handover.receiver import Receiver
from rekindle.jobs.handover.slot import Slot
from rekindle.jobs.handover.snapshots import Keeper
from rekindle.jobs.journal_writer import Record
from rekindle.jobs.saving.writer import Writer
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, digests, journal, tensors
from rekindle.state.run.checkpoints import Checkpoint, Position

AT = Position(0, 1, 7)


def odd_arrays() -> dict[str, Any]:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    return {
        "a number": np.array(3.5),
        "nothing": np.zeros((0, 4), np.float32),
        "flags": np.array([True, False, True]),
        "turned": whole.T,
        "every second": whole[:, ::2],
        "brain floats": np.arange(5, dtype=ml_dtypes.bfloat16),
        "long": np.arange(3 * PAGE, dtype=np.int64),
    }


def descriptors() -> dict[int, str]:
    """Return what each descriptor of this process refers to."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def order(position: Position = AT, **logs: float) -> Order:
    manifest = {"attempt": 1, "finite": True}
    return Order(position, manifest, "steps", False, logs, time.monotonic(), delay=0.25)


def entries(run: Run, kind: str) -> list[dict[str, Any]]:
    found = journal.replay(run.journal).entries if run.journal.exists() else []
    return [one for one in found if one["kind"] == kind]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    return made


def writer(run: Run, keeper: Keeper | None = None) -> Writer:
    return Writer(run, AttemptLog(run, 1, []), keeper)


def save(made: Writer, arrays: dict[str, Any], at: Position = AT) -> None:
    made.take(arrays)
    outcome = made.write(order(at, loss=0.5), arrays, {"state": "{}"})
    assert outcome.error is None


# ---- the file


@pytest.mark.parametrize("by_keeper", [False, True])
def test_what_is_taken_is_in_the_file(run: Run, by_keeper: bool) -> None:
    receiver = Receiver(run, Record(run.journal, 1))
    keeper = Keeper(os.dup(receiver.trainers_end)) if by_keeper else None
    receiver.start()
    given = odd_arrays()
    taken = dict(given)
    made = writer(run, keeper)
    save(made, taken)
    for name in given:
        assert taken[name] is not given[name], "training may change it meanwhile"
    (checkpoint,) = checkpoints.scan(run.checkpoints)
    assert checkpoints.verify(checkpoint) is None
    arrays, metadata = tensors.load(checkpoint.state)
    assert metadata == {"state": "{}"}
    assert list(arrays) == list(given)
    for name, array in given.items():
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes(), name
    (committed,) = entries(run, "checkpoint_committed")
    assert (committed["name"], committed["logs"]) == (AT.name, {"loss": 0.5})
    assert committed["delay"] == 0.25
    receiver.finish()


def test_the_memory_is_used_again_and_grows(run: Run) -> None:
    made = writer(run)
    assert made.growth(5 * PAGE) == 5 * PAGE
    save(made, {"a": np.ones(PAGE, np.uint8)})
    assert made.growth(PAGE) == 0
    assert made.growth(PAGE + 1) == PAGE
    for step, pages in ((8, 3), (9, 1)):
        save(made, {"a": np.full(pages * PAGE, step, np.uint8)}, Position(0, 1, step))
        arrays, _ = tensors.load(Checkpoint(run.checkpoints / f"e0001-s{step:08d}", AT).state)
        assert arrays["a"].tobytes() == bytes([step]) * pages * PAGE
    assert made.growth(3 * PAGE) == 0


@pytest.mark.parametrize(
    "size",
    [0, 1, PAGE, digests.CHUNK - 1, digests.CHUNK, digests.CHUNK + 1, 2 * digests.CHUNK + PAGE + 7],
)
def test_a_file_is_described_as_it_is_on_disk(size: int, tmp_path: Path) -> None:
    slot = Slot()
    slot.take({"a": np.arange(size).astype(np.uint8)})
    image = slot.image(bytes(PAGE), b"x")
    path = tmp_path / "file"
    described = image.save(path)
    assert described == digests.describe(path)
    assert path.read_bytes() == bytes(PAGE) + np.arange(size).astype(np.uint8).tobytes()


def test_a_disk_that_needs_the_page_cache_gets_it(tmp_path: Path) -> None:
    """Memory that does not begin at a page is refused by the disk in the same way."""
    data = bytes(range(256)) * (digests.CHUNK // 256 + 1)
    described = digests.write(tmp_path / "file", [memoryview(data)[1:]], len(data) - 1)
    assert (tmp_path / "file").read_bytes() == data[1:]
    assert described == digests.describe(tmp_path / "file")


@pytest.mark.parametrize("size", [5000, digests.CHUNK + 5000])
def test_a_file_that_cannot_be_written_is_an_error(size: int, tmp_path: Path) -> None:
    slot = Slot()
    slot.take({"a": np.zeros(size, np.uint8)})
    image = slot.image(bytes(PAGE), b"x")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            image.save(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_of_the_script_under_a_closed_descriptor_is_left_alone(
    run: Run, tmp_path: Path
) -> None:
    made = writer(run)
    save(made, odd_arrays())
    theirs = tmp_path / "theirs"
    file = os.open(theirs, os.O_RDWR | os.O_CREAT)
    arrays = odd_arrays()
    made.take(arrays)
    snapshots = [fd for fd in descriptors() if "rekindle-snapshot" in descriptors()[fd]]
    assert snapshots
    for fd in snapshots:
        os.dup2(file, fd)
    assert made.write(order(Position(0, 1, 8)), arrays, {"state": "{}"}).error is None
    save(made, odd_arrays(), Position(0, 1, 9))
    assert theirs.read_bytes() == b""
    found = checkpoints.scan(run.checkpoints)
    assert [9, 8, 7] == [one.position.step for one in found]
    assert [None] * 3 == [checkpoints.verify(one) for one in found]


# ---- the keeper


def test_what_was_handed_over_is_written_after_the_end_of_the_trainer(run: Run) -> None:
    receiver = Receiver(run, Record(run.journal, 1))
    child = os.fork()
    if child == 0:  # a trainer that is gone before the keeper looks
        keeper, slot = Keeper(receiver.trainers_end), Slot()
        arrays = odd_arrays()
        slot.take(arrays)
        text = order().to_json()
        keeper.hand_over(slot.image(tensors.header(arrays, {}, PAGE), text))
        os._exit(0)
    os.waitpid(child, 0)
    assert checkpoints.scan(run.checkpoints) == []
    receiver.start()
    receiver.finish()
    (checkpoint,) = checkpoints.scan(run.checkpoints)
    assert checkpoints.verify(checkpoint) is None
    assert len(entries(run, "checkpoint_committed")) == 1


@pytest.mark.parametrize(
    "message",
    [b"", b"{}", b"x" * 100, b'{"data": 1e99}', b'{"data": 9, "header": 4096, "order": 77777}'],
)
def test_a_message_that_is_none_is_refused(run: Run, message: bytes, capfd: Any) -> None:
    receiver = Receiver(run, Record(run.journal, 1))
    ours = socket.socket(fileno=os.dup(receiver.trainers_end))
    receiver.start()
    fd = os.memfd_create("x")
    opened = descriptors()
    for fds in ([], [fd], [fd, fd]):
        if not message:
            break  # an empty one is the end
        socket.send_fds(ours, [message], fds)
        assert "refused" in json.loads(ours.recv(1 << 16))
    assert descriptors() == opened, "those of a refused message stay open"
    os.close(fd)
    made = writer(run, Keeper(ours.detach()))
    save(made, {"a": np.arange(3)})
    opened = descriptors()
    save(made, {"a": np.arange(3)}, Position(0, 1, 8))
    assert len(checkpoints.scan(run.checkpoints)) == 2
    assert descriptors() == opened, "descriptors stay open"


def test_without_an_answer_the_trainer_writes_by_itself(run: Run) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(theirs.detach())
    ours.close()
    save(writer(run, keeper), odd_arrays())
    assert len(checkpoints.scan(run.checkpoints)) == 1
    assert len(entries(run, "checkpoint_committed")) == 1


def test_a_failed_write_is_journalled_and_told(run: Run) -> None:
    receiver = Receiver(run, Record(run.journal, 1))
    made = writer(run, Keeper(os.dup(receiver.trainers_end)))
    receiver.start()
    run.checkpoints.rmdir()
    run.checkpoints.write_text("no folder")
    arrays = odd_arrays()
    made.take(arrays)
    assert made.write(order(), arrays, {}).error
    (failed,) = entries(run, "save_failed")
    assert failed["step"] == 7
    run.checkpoints.unlink()
    save(made, odd_arrays())


def test_a_script_that_forks_or_closes_descriptors_has_no_keeper(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.detach()
    keeper = Keeper(fd)
    assert keeper.is_there()
    child = os.fork()
    if child == 0:
        os._exit(keeper.is_there())
    assert os.waitpid(child, 0)[1] == 0
    other = os.open(tmp_path, os.O_RDONLY)
    os.dup2(other, fd)  # e.g. closed, and then used by the script
    assert not keeper.is_there()
    os.close(fd)
    assert not keeper.is_there()
    os.close(other)
    ours.close()


def test_the_keeper_stops_waiting_at_the_end_though_a_process_has_the_socket(run: Run) -> None:
    receiver = Receiver(run, Record(run.journal, 1))
    held = os.dup(receiver.trainers_end)
    receiver.start()
    waiting = threading.Thread(target=receiver.finish)
    waiting.start()
    waiting.join(30)
    assert not waiting.is_alive()
    os.close(held)
