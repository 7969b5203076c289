"""Copies on an accelerator: as long as there is room, and moved when a slot takes them.

A stand-in of 200,000 bytes is the device: tests/keras/test_on_a_gpu.py has real ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.handover.slot import Slot
from rekindle.jobs.weights import device_copies
from rekindle.jobs.weights.device_copies import DeviceCopies, DeviceCopy, fetch

FLOAT = np.dtype("float32")


class Device:
    """Copy arrays of numpy, as the libraries do theirs."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def device_of(self, value: Any) -> str:
        return "gpu:0"

    def room(self, device: Any) -> float:
        return 200_000.0

    def copied(self, value: Any) -> Callable[[Any], None]:
        if self.fails:
            raise RuntimeError("out of memory: 3 fragments")
        copy = value.copy()
        return lambda there: np.copyto(there, copy)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(device_copies, "_library_of", lambda value: made)
    monkeypatch.setattr(device_copies, "_said", set())
    return made


def large(number: float) -> Any:
    return np.full((20, 1000), number, FLOAT)  # 80,000 bytes


@pytest.mark.usefixtures("device")
def test_a_slot_takes_the_values_as_of_the_copy() -> None:
    value = large(1.0)
    copies = DeviceCopies()
    arrays: dict[str, Any] = {"a": copies.of(value, FLOAT), "b": np.arange(3)}
    value += 1  # the training continues
    assert arrays["a"].nbytes == value.nbytes
    Slot().take(arrays)
    assert type(arrays["a"]) is np.ndarray
    assert (arrays["a"] == 1.0).all()
    assert arrays["a"].shape == value.shape
    assert arrays["b"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("device")
def test_without_a_slot_the_copies_are_fetched() -> None:
    arrays: dict[str, Any] = {"a": DeviceCopies().of(large(3.0), FLOAT), "b": np.arange(3)}
    fetch(arrays)
    assert (arrays["a"] == 3.0).all()


@pytest.mark.usefixtures("device")
def test_what_has_no_room_is_read_at_once_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    copies = DeviceCopies()
    assert isinstance(copies.of(large(0), FLOAT), DeviceCopy)
    assert isinstance(copies.of(large(0), FLOAT), DeviceCopy)
    assert copies.of(large(0), FLOAT) is None
    assert copies.of(large(0), FLOAT) is None
    assert capsys.readouterr().out.count("gpu:0 has no room") == 1
    # the next state has the room again
    assert isinstance(DeviceCopies().of(large(0), FLOAT), DeviceCopy)


def test_memory_that_is_lacking_all_the_same_ends_nothing(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.fails = True
    copies = DeviceCopies()
    assert copies.of(large(0), FLOAT) is None
    device.fails = False
    assert copies.of(large(0), FLOAT) is None  # of one state all are read
    assert "makes no copy of the state (out of memory: 3 fragments)" in capsys.readouterr().out


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.zeros(16, FLOAT), FLOAT), (np.zeros((200, 200), "complex64"), np.dtype("complex64"))],
)
def test_small_values_and_other_types_are_read_at_once(value: Any, dtype: Any) -> None:
    assert DeviceCopies().of(value, dtype) is None
