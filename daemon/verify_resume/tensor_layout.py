"""Read the layout of a ``*.safetensors`` file with the standard library alone.

The daemon compares and shows states without numpy: names, types, shapes and raw bytes.
`tensors` reads and writes the same files as arrays.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MAX_HEADER: Final = 100 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: type as safetensors names it, shape, and the range of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The header of a file.

    Attributes:
        metadata: texts saved with the tensors.
        entries: tensors by name, in the order of the file.
    """

    path: Path
    metadata: dict[str, str]
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Layout":
        """Read the header of a file.

        Raises:
            ValueError: the file is truncated or not in the format.
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER:
                raise ValueError(f"{path}: the header would have {length} bytes")
            text = file.read(length)
        size = path.stat().st_size
        if len(text) < length:
            raise ValueError(f"{path}: the header is truncated")
        try:
            header = json.loads(text)
            metadata = header.pop("__metadata__", {})
            entries = {
                name: Entry(
                    entry["dtype"],
                    tuple(entry["shape"]),
                    8 + length + entry["data_offsets"][0],
                    8 + length + entry["data_offsets"][1],
                )
                for name, entry in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: the header is not in the safetensors format") from error
        if any(not 8 + length <= e.start <= e.end <= size for e in entries.values()):
            raise ValueError(f"{path}: a tensor lies outside of the file")
        return cls(path, metadata, entries)

    def data(self, name: str) -> bytes:
        """Read the raw bytes of a tensor.

        Raises:
            KeyError: no tensor has this name.
            OSError: the file cannot be read.
        """
        entry = self.entries[name]
        with self.path.open("rb") as file:
            file.seek(entry.start)
            return file.read(entry.end - entry.start)

    def differing(self, other: "Layout") -> Iterator[str]:
        """Name the tensors that are not bit-identical in both files, in the order of this one."""
        for name, entry in self.entries.items():
            theirs = other.entries.get(name)
            if (
                theirs is None
                or (entry.dtype, entry.shape) != (theirs.dtype, theirs.shape)
                or self.data(name) != other.data(name)
            ):
                yield name
        yield from (name for name in other.entries if name not in self.entries)
