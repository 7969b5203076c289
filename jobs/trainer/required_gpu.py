"""End an attempt before its first step where the spec asks for a GPU and TensorFlow sees none.

TensorFlow trains on the CPU without an error where its CUDA libraries are missing, the driver has
failed, or the installed build is for the CPU: the night would be lost a hundred times slower.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rekindle.state.errors import GpuMissing

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_INSTALL: Final = "{} -m pip install 'tensorflow[and-cuda]'"
ON_CPU: Final = (
    "To train on the CPU, submit the spec again with `require_gpu = false` in [resources]."
)


@dataclass(frozen=True, slots=True)
class Devices:
    """Describe the GPUs of a process.

    Attributes:
        physical: how many TensorFlow finds.
        visible: how many of them the script leaves visible.
        built: the installed TensorFlow can use GPUs.
        cuda_visible: ``CUDA_VISIBLE_DEVICES`` of the process; None if it is not set.
        nodes: device files of GPUs that exist and this user may not open.
    """

    physical: int
    visible: int
    built: bool
    cuda_visible: str | None = None
    nodes: Sequence[str] = ()


class Missing(NamedTuple):
    """Say why no GPU is visible, and what makes one visible."""

    what: str
    remedy: str


def install(session: "Session") -> None:
    """Check at the entry of the first stage of the script, where the spec requires a GPU."""
    if not session.job.resources.needs_gpu:
        return
    checked = False

    def check() -> None:
        nonlocal checked
        if not checked:
            checked = True
            _check(session)

    session.stages.listen(check, lambda: None)


def _check(session: "Session") -> None:
    tensorflow: Any = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    found = look(tensorflow)
    lacking = missing(found, session.job.resources.gpus, sys.executable)
    if lacking is not None:
        error = GpuMissing(
            f"{lacking.what} Nothing was trained.",
            hint=f"{lacking.remedy} Then `rekindle release {session.job.id}`. {ON_CPU}",
        )
        session.fail_permanently(error)
        raise error
    asked = session.job.resources.gpus or 1
    if found.visible < asked:
        session.warn(
            f"The spec asks for {asked} GPUs, and TensorFlow uses {found.visible}.",
            "A script uses several GPUs only with a strategy (`tf.distribute.MirroredStrategy`).",
        )


def look(tensorflow: Any) -> Devices:
    """Find the GPUs that TensorFlow sees, without initialising one of them."""
    config = tensorflow.config
    return Devices(
        physical=len(config.list_physical_devices("GPU")),
        visible=len(config.get_visible_devices("GPU")),
        built=bool(tensorflow.test.is_built_with_gpu_support()),
        cuda_visible=os.environ.get(_VISIBLE),
        nodes=closed_nodes(),
    )


def closed_nodes() -> list[str]:
    """List the device files of NVIDIA's driver that exist and this user may not open."""
    return [
        node
        for node in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0")
        if os.path.exists(node) and not os.access(node, os.R_OK | os.W_OK)
    ]


def missing(found: Devices, gpus: int | None, python: str) -> Missing | None:
    """Explain why no GPU is visible; None if there is one. Pure.

    Args:
        gpus: as the spec says.
        python: the interpreter of the job.
    """
    if found.visible:
        return None
    asked = f"`gpus = {gpus}`" if gpus else "`require_gpu = true`"
    what = f"The spec says {asked}, and TensorFlow sees no GPU"
    if found.physical:
        why = f"the script hides {_count(found.physical)} with `tf.config.set_visible_devices`"
        do = "Remove that call from the script."
    elif not found.built:
        why = f"{python} has a TensorFlow that was built for the CPU only"
        do = f"{python} -m pip uninstall tensorflow-cpu; {_INSTALL.format(python)}."
    elif found.cuda_visible is not None and found.cuda_visible.strip() in ("", "-1"):
        why = f"{_VISIBLE} is {found.cuda_visible!r} in the script's environment"
        do = (
            f"Do not set {_VISIBLE}, in the spec or in the script: "
            "the daemon sets it to the job's own GPUs."
        )
    elif found.nodes:
        why = f"this user may not open {', '.join(found.nodes)}"
        do = (
            f"Add the daemon's user to the group of the device (ls -l {found.nodes[0]}), "
            "and restart the daemon."
        )
    else:
        why = "its CUDA libraries or the driver cannot be loaded (the log says which)"
        do = f"Check `nvidia-smi`; {_INSTALL.format(python)} installs the libraries."
    return Missing(f"{what}: {why}.", do)


def _count(number: int) -> str:
    return "1 GPU" if number == 1 else f"all {number} GPUs"
