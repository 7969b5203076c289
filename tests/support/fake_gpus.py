"""A host with GPUs for tests: the real NVML binding over `tests/fakes/nvml.c`."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from rig import ROOT


@functools.cache
def library() -> Path:
    """Build the library once for all tests of this process; return its folder."""
    folder = Path(tempfile.mkdtemp(prefix="fake-nvml-"))
    build(folder)
    return folder


def build(folder: Path) -> None:
    """Build the library in a folder; a new file takes the place of an old one."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to build the pretended driver with")
    new = folder / "new.so"
    source = str(ROOT / "tests" / "fakes" / "nvml.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(new), source], check=True)
    new.replace(folder / "libnvidia-ml.so.1")


class Box:
    """A host whose GPUs are lines of a file; the daemon's probe loads a library that reads it."""

    def __init__(self, folder: Path, count: int, own_library: bool = False) -> None:
        self.file = folder / "gpus.txt"
        self.library = folder / "lib" if own_library else library()
        if own_library:
            self.library.mkdir()
            build(self.library)
        self.gpus = [{"uuid": f"GPU-{n:04d}", "total": 81559, "free": 81000} for n in range(count)]
        self.driver: dict[str, int] = {}
        self.allowed = ",".join(str(n) for n in range(count))
        self.write()

    def write(self) -> None:
        lines = [
            " ".join([str(gpu["uuid"]), *(f"{k}={v}" for k, v in gpu.items() if k != "uuid")])
            for gpu in self.gpus
        ]
        lines.append(" ".join(["driver", *(f"{k}={v}" for k, v in self.driver.items())]))
        new = self.file.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.replace(self.file)

    def set(self, number: int, **values: int | str) -> None:
        """Change what the driver says of one GPU."""
        self.gpus[number].update(values)
        self.write()

    def remove(self, number: int) -> None:
        """Take a GPU out, as a driver does that was loaded again without it."""
        del self.gpus[number]
        self.write()

    def set_driver(self, **values: int) -> None:
        """Change what the driver does as a whole."""
        self.driver.update(values)
        self.write()

    def xid(self, number: int, code: int) -> None:
        """Send an XID event."""
        new = self.file.with_suffix(".new-xid")
        new.write_text(f"{number} {code}\n")
        new.replace(f"{self.file}.xid")

    def xid_is_taken(self) -> bool:
        return not Path(f"{self.file}.xid").exists()

    def environment(self) -> dict[str, str]:
        # the rig hides GPUs from everything; here the daemon is left all of them
        return {
            "LD_LIBRARY_PATH": str(self.library),
            "FAKE_NVML": str(self.file),
            "CUDA_VISIBLE_DEVICES": self.allowed,
        }
