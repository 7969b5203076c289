"""Tell the code of a job from that of libraries."""

import sys
from pathlib import Path

import pytest

from rekindle.jobs import code_origin


def test_the_standard_library_and_installed_packages_are_libraries() -> None:
    import json

    import numpy as np

    assert code_origin.is_library(json.__file__)
    assert code_origin.is_library(np.__file__)
    assert not code_origin.is_library(__file__)


def test_packages_beside_their_metadata_on_the_path_are_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``pip install --target`` makes them, or a ``.pth`` file or PYTHONPATH reaches them."""
    record = tmp_path / "some_package-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(
        "some_package/__init__.py,,\nsingle.py,,\nsome_package-1.0.dist-info/RECORD,,\n"
    )
    package, single = tmp_path / "some_package" / "__init__.py", tmp_path / "single.py"
    script = tmp_path / "train.py"
    assert code_origin.is_own(str(script))
    monkeypatch.syspath_prepend(tmp_path)
    code_origin.is_library.cache_clear()
    code_origin.is_own.cache_clear()
    assert code_origin.is_library(str(package)) and code_origin.is_library(str(single))
    assert not code_origin.is_own(str(package))
    # packages that are vendored beside the script leave the script itself what it is
    assert str(tmp_path) in sys.path and code_origin.is_own(str(script))


def test_rekindle_is_neither_of_the_job_nor_installed_from_an_editable_tree() -> None:
    assert not code_origin.is_own(code_origin.__file__)
    assert not code_origin.is_own("<string>")
