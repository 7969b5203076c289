"""Tensors of PyTorch, as the walk through Python state sees them."""

import sys
import zlib
from typing import Any

from rekindle.jobs.capture.codec import Tensors, decode, encode
from rekindle.jobs.object_kinds.kinds import Leaf
from rekindle.jobs.object_kinds.values import Unresolvable


class TorchLeaf(Leaf):
    """A tensor or parameter; one that training makes can be made again."""

    name, made = "torch", True

    def digest(self, value: Any) -> str:
        arrays: Tensors = {}
        encoded = encode(value, arrays, "")
        return f"{encoded['torch'][1:]} {[zlib.crc32(one.tobytes()) for one in arrays.values()]}"

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        return encode(value, arrays, prefix)

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        made = decode(body, arrays)
        if made.shape != value.shape:
            raise Unresolvable(f"a tensor of shape {tuple(made.shape)}")
        # in place, past autograd: the script holds the same tensor elsewhere
        value.data.copy_(made)

    def new(self, body: Any, arrays: Tensors) -> Any:
        return decode(body, arrays)


TORCH = TorchLeaf()


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of PyTorch, once the script has imported it."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))
