"""Read and set the position of a TensorFlow seed generator.

A shuffle that shuffles again in each iteration takes its seeds from a generator that all of its
iterators share. TensorFlow restores the position of that generator with the state of an iterator:
so a tiny iterator on the same generator is saved to read the position, and restored from a state
with another number to set it.
"""

from typing import Any, Final

from rekindle.jobs.keras_compat.tensorflow_parts import (
    dataset_ops,
    dataset_pb2,
    gen_dataset_ops,
    tensor_pb2,
    tf,
)

_KEY: Final = "epoch_num_random_samples"
_IGNORE: Final = 1  # the tiny dataset has no external state
_plain_shuffle: Final = gen_dataset_ops.shuffle_dataset_v3


class SeedStream:
    """Hold one seed generator.

    Args:
        handle: the resource of the generator.
        seed, seed2: its seeds.
    """

    def __init__(self, handle: Any, seed: int, seed2: int) -> None:
        self._handle = handle
        self._seeds = (seed, seed2)
        self._probe: Any = None

    @classmethod
    def make(cls, seed: int, seed2: int) -> "SeedStream":
        """Create a generator."""
        with tf.device("CPU:0"):
            handle, _ = gen_dataset_ops.anonymous_seed_generator(
                seed=seed, seed2=seed2, reshuffle=True
            )
        return cls(handle, seed, seed2)

    @property
    def handle(self) -> Any:
        """The resource, for a dataset."""
        return self._handle

    def position(self) -> int:
        """Return the count of numbers drawn; no thread may draw meanwhile."""
        iterator = iter(self._dataset())  # draws two
        parts = _saved(iterator)
        drawn = int(_values(parts[_index(parts)])[0])
        _restore(iterator, parts, drawn - 2)
        return drawn - 2

    def seek(self, position: int) -> None:
        """Set the count of numbers drawn; no thread may draw meanwhile."""
        iterator = iter(self._dataset())
        _restore(iterator, _saved(iterator), position)

    def _dataset(self) -> Any:
        if self._probe is None:
            seed, seed2 = self._seeds
            with tf.device("CPU:0"):
                variant = _plain_shuffle(
                    tf.data.Dataset.range(1)._variant_tensor,
                    buffer_size=1,
                    seed=seed,
                    seed2=seed2,
                    seed_generator=self._handle,
                    output_types=[tf.int64],
                    output_shapes=[tf.TensorShape([])],
                    metadata=b"",
                )
            options = tf.data.Options()
            options.experimental_optimization.apply_default_optimizations = False
            options.autotune.enabled = False
            plain = dataset_ops._VariantDataset(variant, tf.TensorSpec((), tf.int64))
            self._probe = plain.with_options(options)
        return self._probe


def works() -> bool:
    """Try with a generator of our own whether this TensorFlow stores positions as expected."""
    try:
        stream = SeedStream.make(3, 5)
        first = _next_seeds(stream)
        second = _next_seeds(stream)
        if stream.position() != 4:
            return False
        stream.seek(0)
        again = _next_seeds(stream)
        stream.seek(2)
        return first == again != second == _next_seeds(stream) and stream.position() == 4
    except Exception:
        return False


def _next_seeds(stream: SeedStream) -> list[int]:
    """Draw; return the two seeds that an iterator got."""
    parts = _saved(iter(stream._dataset()))
    return [int(value) for value in _values(parts[_index(parts)])[2:4]]


def _saved(iterator: Any) -> list[Any]:
    state = tf.raw_ops.SerializeIterator(
        resource_handle=iterator._iterator_resource, external_state_policy=_IGNORE
    )
    return tf.unstack(state, num=state.shape[0])  # type: ignore[no-any-return]


def _restore(iterator: Any, parts: list[Any], position: int) -> None:
    at = _index(parts)
    entry = _entry(parts[at])
    values = [tf.constant(position, tf.int64), *_values(parts[at])[1:]]
    changed = tensor_pb2.VariantTensorDataProto(
        type_name=entry.type_name,
        metadata=entry.metadata,
        tensors=[tf.make_tensor_proto(value) for value in values],
    )
    tf.raw_ops.DeserializeIterator(
        resource_handle=iterator._iterator_resource,
        serialized=tf.stack([*parts[:at], _variant(changed), *parts[at + 1 :]]),
    )


def _index(parts: list[Any]) -> int:
    """Find the part that begins with the count of numbers drawn."""
    for at, part in enumerate(parts):
        names = _entry(part).metadata.decode("latin-1").split("@@")
        if names[1:2] == [_KEY]:
            return at
    raise LookupError(_KEY)


def _values(part: Any) -> list[Any]:
    """Uncompress the values of a part."""
    tensors = _entry(part).tensors
    if len(tensors) != 1 or not tensors[0].variant_val:
        return [tf.make_ndarray(one) for one in tensors]
    packed = tensors[0].variant_val[0]
    kinds = dataset_pb2.CompressedElement.FromString(packed.metadata).component_metadata
    return tf.raw_ops.UncompressElement(  # type: ignore[no-any-return]
        compressed=_variant(packed),
        output_types=[tf.as_dtype(kind.dtype) for kind in kinds],
        output_shapes=[tf.TensorShape([])] * len(kinds),
    )


def _entry(part: Any) -> Any:
    """Parse a part of an iterator's state: names, and tensors."""
    content = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(part).numpy())
    if content.variant_val:
        return content.variant_val[0]
    size = shift = at = 0
    while True:
        byte = content.tensor_content[at]
        size |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            break
    return tensor_pb2.VariantTensorDataProto.FromString(content.tensor_content[at : at + size])


def _variant(entry: Any) -> Any:
    """Turn an entry into a scalar tensor."""
    proto = tensor_pb2.TensorProto(dtype=tf.variant.as_datatype_enum, variant_val=[entry])
    return tf.io.parse_tensor(proto.SerializeToString(), tf.variant)
