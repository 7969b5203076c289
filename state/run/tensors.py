"""Read and write ``*.safetensors`` with numpy alone.

The trainer runs in the user's interpreter, which may have nothing but numpy and TensorFlow.
Format: https://github.com/huggingface/safetensors (8 bytes little-endian header length, JSON
header, data). Extended types (bfloat16, float8) are saved as raw bits and loaded as unsigned
integers of the same width; the caller views them as their type.
"""

import json
import math
import mmap
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_RAW = {"BF16": "uint16", "F8_E4M3": "uint8", "F8_E5M2": "uint8"}
_DTYPES = {
    name: np.dtype(_RAW.get(name, dtype)) for dtype, name in _NAMES.items() if name not in _RAW
} | {name: np.dtype(raw) for name, raw in _RAW.items()}

_MAPPED = 1 << 20
"""Least bytes of a tensor that is mapped."""

# types of TensorFlow that safetensors lacks are saved as unsigned integers of their width
_FALLBACK = {1: "U8", 2: "U16", 4: "U32", 8: "U64"}


def save(
    path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]
) -> None:
    """Write ``tensors`` (any shapes, 0-d included) and text ``metadata``; the caller fsyncs.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        file.write(header(tensors, metadata))
        for tensor in tensors.values():
            # ascontiguousarray would turn a 0-d array into shape (1,)
            array = tensor if tensor.flags["C_CONTIGUOUS"] else tensor.copy(order="C")
            if array.nbytes:
                file.write(array.reshape(-1).view(np.uint8).data)


def header(
    tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str], multiple: int = 8
) -> bytes:
    """Encode what a file has before the values, which follow without gaps, in this order.

    Args:
        multiple: number of bytes of which the length is a multiple.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in tensors.items():
        entries[name] = {
            "dtype": _NAMES.get(array.dtype.name) or _FALLBACK[array.dtype.itemsize],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    encoded = json.dumps(entries, separators=(",", ":")).encode()
    encoded += b" " * (-(len(encoded) + 8) % multiple)
    return len(encoded).to_bytes(8, "little") + encoded


def load(
    path: Path, *, mapped: tuple[str, ...] = ()
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Read what :func:`save` wrote: tensors by name (writable, own memory) and metadata.

    Args:
        mapped: how the names of tensors begin that are mapped where they are large. They take
            memory only where they are changed, which changes no file, but keep the file's blocks
            on disk: drop them soon. Who cuts the file short meanwhile ends this process (SIGBUS).

    Raises:
        ValueError: the file is truncated or not in the format.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        header, length = _read_header(path, file)
        size = os.fstat(file.fileno()).st_size
        metadata = header.pop("__metadata__", {})
        tensors: dict[str, np.ndarray[Any, Any]] = {}
        mapping = _mapping(file, size) if mapped else None
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype = _DTYPES.get(entry["dtype"])
            count = math.prod(entry["shape"])
            if (
                dtype is None
                or not 0 <= start <= end <= size - 8 - length
                or end - start != count * dtype.itemsize
            ):
                raise ValueError(f"{path}: the entry of tensor {name} does not match the file")
            at = 8 + length + start
            if (
                mapping is not None
                and name.startswith(mapped)
                and end - start >= _MAPPED
                and not at % dtype.itemsize
            ):
                array = np.frombuffer(mapping, dtype, count, at).reshape(entry["shape"])
            else:
                array = np.empty(entry["shape"], dtype)
                if array.nbytes:
                    _read(file.fileno(), array.reshape(-1).view(np.uint8).data, at)
            tensors[name] = array
    return tensors, metadata


def _mapping(file: FileIO, size: int) -> mmap.mmap | None:
    """Map a large file; None for another, and where the file system maps none."""
    if size < _MAPPED:
        return None
    try:
        return mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:
        return None


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of what :func:`save` wrote, without the tensors.

    Raises:
        ValueError: the file is truncated or not in the format.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        metadata: dict[str, str] = _read_header(path, file)[0].get("__metadata__", {})
    return metadata


def _read_header(path: Path, file: FileIO) -> tuple[dict[str, Any], int]:
    """Read what a file has before the values; return it with its length."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8:
        raise ValueError(f"{path}: too short for a safetensors file")
    if length > size - 8:
        raise ValueError(f"{path}: the header is truncated")
    text = bytearray(length)
    _read(file.fileno(), memoryview(text), 8)
    return json.loads(text), length


def _read(fd: int, memory: memoryview, at: int) -> None:
    while memory:
        done = os.preadv(fd, [memory], at)
        if not done:
            raise ValueError("the file has become shorter")
        memory, at = memory[done:], at + done
