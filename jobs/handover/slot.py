"""Shared memory of a trainer, into which it copies a state that is to be saved."""

import mmap
import os
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from rekindle.jobs.handover.image import PAGE, Image, whole_pages
from rekindle.jobs.process import OwnDescriptor
from rekindle.jobs.weights.device_copies import DeviceCopy

Arrays = MutableMapping[str, np.ndarray[Any, Any]]


class Slot:
    """Memory for one state, kept for the next one: its first use takes longer than a copy.

    It is a memory file without a name, which goes when the last process that has it ends.
    """

    def __init__(self) -> None:
        self._file: OwnDescriptor | None = None
        self._memory: mmap.mmap | None = None
        self._used = 0

    def growth(self, size: int) -> int:
        """Return the bytes of memory that a state of ``size`` bytes takes beyond today's."""
        return max(whole_pages(size) - self._mapped, 0)

    @property
    def _mapped(self) -> int:
        return 0 if self._memory is None else len(self._memory)

    def take(self, arrays: Arrays) -> None:
        """Move the arrays into the slot, one after another, without gaps.

        The state before it must have been written.

        Raises:
            OSError: the memory is not available.
        """
        size = sum(array.nbytes for array in arrays.values())
        memory = self._hold(size)
        at = 0
        for name, array in arrays.items():
            here = np.frombuffer(memory, np.uint8, array.nbytes, at)
            at += array.nbytes
            there = here.view(array.dtype).reshape(array.shape)
            if isinstance(array, DeviceCopy):
                array.move_to(there)
            else:
                np.copyto(there, array)
            # drops the reference: training changes such a variable without a copy again
            arrays[name] = there
        self._used = size

    def image(self, header: bytes, order: bytes) -> Image:
        """Complete the state with its header, of whole pages, and an order behind it.

        Raises:
            OSError: the memory is not available.
        """
        assert len(header) % PAGE == 0
        if self._file is None or not self._file.is_open():
            raise OSError("the script has closed the memory file")
        image = Image(self._file.fd, self._used, len(header), len(order))
        _write(image.fd, header, whole_pages(self._used))
        _write(image.fd, order, image.end)
        return image

    def _hold(self, size: int) -> mmap.mmap:
        if self._file is None or not self._file.is_open():
            fd = os.memfd_create("rekindle-snapshot", os.MFD_CLOEXEC)
            self._file, self._memory = OwnDescriptor.of(fd), None
        if self._memory is None or self.growth(size):
            self._memory = None
            size = max(whole_pages(size), PAGE)
            os.ftruncate(self._file.fd, size)
            self._memory = mmap.mmap(self._file.fd, size)
        return self._memory


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
