"""Tensors are restored bit for bit, and other tools read the files."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from rekindle.state.run import tensors


def test_all_types_and_shapes_are_restored_bit_for_bit(tmp_path: Path) -> None:
    """0-d, empty, odd sizes and non-contiguous arrays keep shape, type and bits."""
    given = {
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "odd": np.array([True, False, True]),
        "nan": np.array([np.nan, -0.0, np.inf], np.float64),
        "strided": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "half": np.arange(5, dtype=np.float16),
        "wide": np.array([2**64 - 1], np.uint64),
    }
    path = tmp_path / "state.safetensors"

    tensors.save(path, given, {"state": "{}"})
    found, metadata = tensors.load(path)

    assert metadata == {"state": "{}"}
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()


def test_bfloat16_is_restored_as_its_raw_bits(tmp_path: Path) -> None:
    """A type that plain numpy lacks keeps its bits and can be viewed as that type."""
    path = tmp_path / "state.safetensors"
    given = np.array([1.5, -2.0, 3.25], ml_dtypes.bfloat16)
    tensors.save(path, {"b": given}, {})
    found = tensors.load(path)[0]["b"]
    assert found.view(ml_dtypes.bfloat16).tobytes() == given.tobytes()


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    """The format is the published one."""
    path = tmp_path / "state.safetensors"
    given = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.array(3, np.int32)}
    tensors.save(path, given, {"k": "v"})
    found = load_file(path)
    assert found["a"].tobytes() == given["a"].tobytes()
    assert found["s"].shape == ()


@pytest.mark.parametrize("keep", [0, 4, 7, 20, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    """A truncated file raises instead of returning shorter tensors."""
    path = tmp_path / "state.safetensors"
    tensors.save(path, {"a": np.arange(6, dtype=np.float32)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"short|truncated|does not match"):
        tensors.load(path)


def test_large_tensors_of_some_names_are_mapped_and_do_not_change_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    given = {
        "model/0": np.arange(1 << 19, dtype=np.float32),
        "model/1": np.ones(3, np.uint8),
        "model/2": np.arange(1 << 19, dtype=np.float64),  # not at a multiple of 8 bytes
        "state/0": np.arange(1 << 19, dtype=np.float32),
    }
    tensors.save(path, given, {"a": "b"})
    before = path.read_bytes()
    found, metadata = tensors.load(path, mapped=("model/",))
    assert metadata == {"a": "b"}
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array), name
    assert [name for name in given if not found[name].flags.owndata] == ["model/0"]
    found["model/0"][:] = 5
    assert path.read_bytes() == before
    path.unlink()
    assert (found["model/0"] == 5).all()
