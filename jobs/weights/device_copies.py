"""Copies of variables in the memory of their accelerator, which are read in the background.

JAX and PyTorch write a new value where the old one was, so a save needs a copy before the next
step. One within the accelerator's memory takes a hundredth of the time of one into the host's.
"""

import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rekindle.jobs.journal_writer import log_line

Array = np.ndarray[Any, Any]

LEAST: Final = 1 << 16
"""Least bytes of a value that is copied there: a smaller one is read as quickly."""
PIECE: Final = 16 << 20
"""Bytes that are moved at a time."""
_SPARE: Final = 0.05
"""Part of the accelerator's memory that copies leave free."""
_TYPES: Final = frozenset(
    {"bool", "uint8", "float16", "float32", "float64", *(f"int{bits}" for bits in (8, 16, 32, 64))}
)
"""Types that numpy and each library have."""
_said: set[str] = set()


class DeviceCopy:
    """Hold the copy of a value on its device. Any thread may move it to host memory.

    Args:
        dtype: of the array of numpy that it becomes.
        move: writes the value into an array of that type and shape.
    """

    def __init__(self, dtype: Any, shape: Any, move: Callable[[Array], None]) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape: tuple[int, ...] = tuple(shape)
        self._move = move

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    def move_to(self, there: Array) -> None:
        """Write the value into an array of its type and shape."""
        self._move(there)

    def fetched(self) -> Array:
        """Return the value in host memory."""
        made = np.empty(self.shape, self.dtype)
        self._move(made)
        return made


def fetch(arrays: dict[str, Any]) -> None:
    """Replace the copies among arrays by their values in host memory."""
    for name, array in arrays.items():
        if isinstance(array, DeviceCopy):
            arrays[name] = array.fetched()


class DeviceCopies:
    """Copy the values of one state on their devices, as far as there is room."""

    def __init__(self) -> None:
        self._room: dict[Any, float] = {}
        self._used: dict[Any, Any] = {}

    def of(self, value: Any, dtype: Any) -> DeviceCopy | None:
        """Copy a value; None where it is to be read at once.

        It is small, in host memory, on several devices or of a type that numpy lacks, or the
        device has no room: that which the training has used at most so far stays free for it.

        Args:
            value: a tensor of PyTorch or an array of JAX.
            dtype: the type of numpy that holds it.
        """
        library = _library_of(value)
        if library is None or dtype.name not in _TYPES or _size(value, dtype) < LEAST:
            return None
        device = None
        try:
            device = library.device_of(value)
            if device is None:
                return None
            if device not in self._room:
                self._room[device] = library.room(device)
            self._room[device] -= _size(value, dtype)
            if self._room[device] < 0:
                _say(f"{device} has no room for a copy of the state: a save waits for its values.")
                return None
            self._used[device] = library
            return DeviceCopy(dtype, value.shape, library.copied(value))
        except Exception as error:
            # out of memory: fragments, or another process; an allocator that counts nothing; JAX
            # may look for NaN in all that it computes, also where they are by design
            _say(f"{device} makes no copy of the state ({error}): a save waits for its values.")
            self._room[device] = -math.inf
            return None

    def made(self) -> None:
        """Wait until all copies are made: the training may then change the values in any way."""
        for device, library in self._used.items():
            library.wait(device)


class _Torch:
    """Copy tensors of PyTorch."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._ways: dict[Any, _WayOut] = {}
        self._most: dict[Any, float] = {}

    def device_of(self, value: Any) -> Any:
        """Return the device of a tensor; None for host memory."""
        return value.device if value.is_cuda and value.layout is self._torch.strided else None

    def room(self, device: Any) -> float:
        """Return the bytes that neither this process nor another one has ever used.

        Copies count as used: they may be there when the training uses most.
        """
        cuda = self._torch.cuda
        free, total = cuda.mem_get_info(device)
        # a script may reset the count, e.g. in each epoch
        most = max(self._most.get(device, 0.0), float(cuda.max_memory_allocated(device)))
        self._most[device] = most
        ours = free + cuda.memory_reserved(device)
        if hasattr(cuda, "get_per_process_memory_fraction"):
            ours = min(ours, cuda.get_per_process_memory_fraction(device) * total)
        return float(ours - most - _SPARE * total)

    def wait(self, device: Any) -> None:
        """Wait for what was put into the current stream of a device."""
        self._torch.cuda.current_stream(device).synchronize()

    def copied(self, value: Any) -> Callable[[Array], None]:
        """Copy a tensor; return what writes the copy into an array."""
        torch = self._torch
        # the next kernel of this stream may change the value: the copy comes before it
        copy = value.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
        made = torch.cuda.Event()
        made.record(torch.cuda.current_stream(copy.device))

        def move(there: Array) -> None:
            if copy.device not in self._ways:
                self._ways[copy.device] = _WayOut(torch, copy.device)
            self._ways[copy.device].move(copy, made, there.reshape(-1))

        return move


class _WayOut:
    """Move tensors of one device to host memory, in a stream of its own.

    Through page-locked buffers: a copy into other memory lets all who use the device wait.
    """

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream(device)
        try:
            self._buffers = [_buffer(torch, pin_memory=True) for _ in range(2)]
        except RuntimeError as error:
            _say(f"no page-locked memory for checkpoints ({error}): steps wait for them.")
            self._buffers = [_buffer(torch) for _ in range(2)]

    def move(self, copy: Any, made: Any, there: Array) -> None:
        """Write a tensor into an array, both flat.

        Args:
            made: the event after which the tensor has its values.
        """
        cuda = self._torch.cuda
        each = PIECE // there.itemsize
        coming: tuple[Any, Any, slice] | None = None
        with cuda.stream(self._stream):
            self._stream.wait_event(made)
            for number, start in enumerate(range(0, len(there), each)):
                part = slice(start, start + each)
                piece = copy[part]
                buffer = self._buffers[number % 2].view(copy.dtype)[: len(piece)]
                buffer.copy_(piece, non_blocking=True)
                arrived = cuda.Event()
                arrived.record(self._stream)
                if coming is not None:
                    _take(coming, there)
                coming = buffer, arrived, part
            if coming is not None:
                _take(coming, there)


def _buffer(torch: Any, **options: Any) -> Any:
    return torch.empty(PIECE, dtype=torch.uint8, device="cpu", **options)


def _take(coming: tuple[Any, Any, slice], there: Array) -> None:
    """Wait for a piece, and copy it out of its buffer."""
    buffer, arrived, part = coming
    arrived.synchronize()
    np.copyto(there[part], buffer.numpy())


class _Jax:
    """Copy arrays of JAX."""

    def __init__(self, jax: Any) -> None:
        self._jax = jax
        self._flat = jax.jit(lambda value: jax.numpy.copy(value).reshape(-1))
        self._cut = jax.jit(jax.lax.dynamic_slice_in_dim, static_argnums=2)

    def device_of(self, value: Any) -> Any:
        """Return the device of an array; None for host memory and for several devices."""
        if len(value.devices()) != 1:
            return None
        (device,) = value.devices()
        return device if device.platform in ("gpu", "cuda", "rocm", "tpu") else None

    def room(self, device: Any) -> float:
        """Return the bytes that the training has never used; none where that is not known."""
        found = device.memory_stats() or {}
        limit, peak = found.get("bytes_limit"), found.get("peak_bytes_in_use")
        return -1 if limit is None or peak is None else float(limit - peak - _SPARE * limit)

    def wait(self, device: Any) -> None:
        """Do nothing: each copy was waited for."""

    def copied(self, value: Any) -> Callable[[Array], None]:
        """Copy an array; return what writes the copy into one of numpy."""
        copy = self._flat(value).block_until_ready()  # here, so that a lack of memory is found

        def move(there: Array) -> None:
            each = PIECE // there.itemsize
            flat = there.reshape(-1)
            try:
                if len(flat) <= each:
                    np.copyto(flat, self._arrived(copy))
                    return
                for start in range(0, len(flat), each):
                    # the last piece is a whole one, too: each length is compiled
                    at = min(start, len(flat) - each)
                    np.copyto(flat[at : at + each], self._arrived(self._cut(copy, at, each)))
            except Exception as error:
                _say(f"a copy of the state is moved as a whole ({error}): steps wait for it.")
                np.copyto(flat, np.asarray(copy))

        return move

    def _arrived(self, piece: Any) -> Array:
        """Return an array through page-locked memory: the other way lets all steps wait."""
        # an older JAX, or a device that has no such memory
        with contextlib.suppress(AttributeError, ValueError, NotImplementedError):
            piece = self._jax.device_put(piece, piece.sharding.with_memory_kind("pinned_host"))
        return np.asarray(piece)


def _library_of(value: Any) -> Any:
    """Return what copies a value of this type."""
    for name, kind in _KINDS.items():
        module = sys.modules.get(name)
        if module is not None and isinstance(value, getattr(module, kind[0], ())):
            if name not in _libraries:
                _libraries[name] = kind[1](module)
            return _libraries[name]
    return None


_KINDS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "torch": ("Tensor", _Torch),
    "jax": ("Array", _Jax),
}
_libraries: dict[str, Any] = {}


def _size(value: Any, dtype: Any) -> int:
    return int(math.prod(value.shape)) * int(dtype.itemsize)


def _say(text: str) -> None:
    if text not in _said:
        _said.add(text)
        log_line(text)
