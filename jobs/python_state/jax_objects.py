"""Arrays of JAX, and frozen trees of them, as the walk through Python state sees them."""

import sys
import zlib
from typing import Any

from rekindle.jobs.capture.codec import Tensors, Unsupported, decode, encode, is_tree
from rekindle.jobs.object_kinds.kinds import Leaf
from rekindle.jobs.object_kinds.values import Unresolvable


class JaxLeaf(Leaf):
    """An array, or a frozen tree of arrays: it never changes, and a new one can be made."""

    name, made = "jax", True

    def digest(self, value: Any) -> str:
        arrays: Tensors = {}
        try:
            encoded = encode(value, arrays, "")
        except Unsupported:
            return "?"
        return f"{zlib.crc32(str(encoded).encode()):08x} " + " ".join(
            f"{zlib.crc32(one.tobytes()):08x}" for one in arrays.values()
        )

    def out(self, value: Any, arrays: Tensors, prefix: str) -> Any:
        return encode(value, arrays, prefix)

    def into(self, value: Any, body: Any, arrays: Tensors) -> None:
        raise Unresolvable("an array of JAX that the script has made")

    def new(self, body: Any, arrays: Tensors) -> Any:
        return decode(body, arrays)


JAX = JaxLeaf()


def is_value(value: Any) -> bool:
    """Return whether a value is one of JAX, once the script has imported it."""
    jax: Any = sys.modules.get("jax")
    return jax is not None and (isinstance(value, getattr(jax, "Array", ())) or is_tree(jax, value))
