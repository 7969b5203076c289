"""End an attempt before its first step where the spec asks for a GPU and its library sees none.

TensorFlow, PyTorch and JAX train on the CPU without an error where their CUDA libraries are
missing, the driver has failed, or the installed build is for the CPU: the night would be lost a
hundred times slower.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rekindle.state.errors import GpuMissing

if TYPE_CHECKING:
    from rekindle.jobs.attempt.session import Session

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ON_CPU: Final = (
    "To train on the CPU, submit the spec again with `require_gpu = false` in [resources]."
)


class Library(NamedTuple):
    """Describe a library that trains on GPUs.

    Attributes:
        name: for a person.
        strategy: what lets a script use several GPUs.
        cpu_build: the command that removes a build for the CPU only.
        install: what to give `pip install` for a build with CUDA.
    """

    name: str
    strategy: str
    cpu_build: str
    install: str


LIBRARIES: Final = {
    "tensorflow": Library(
        "TensorFlow",
        "a strategy (`tf.distribute.MirroredStrategy`)",
        "uninstall tensorflow-cpu",
        "'tensorflow[and-cuda]'",
    ),
    "torch": Library(
        "PyTorch", "`torch.nn.parallel.DistributedDataParallel`", "uninstall torch", "torch"
    ),
    "jax": Library("JAX", "`keras.distribution.DataParallel`", "uninstall jaxlib", "'jax[cuda12]'"),
}
"""By the names of their modules."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Describe the GPUs of a process.

    Attributes:
        physical: how many the library finds.
        visible: how many of them the script leaves visible.
        built: the installed library can use GPUs.
        cuda_visible: ``CUDA_VISIBLE_DEVICES`` of the process; None if it is not set.
        nodes: device files of GPUs that exist and this user may not open.
        library: name of the module that trains.
        setting: one that leaves all GPUs out.
    """

    physical: int
    visible: int
    built: bool
    cuda_visible: str | None = None
    nodes: Sequence[str] = ()
    library: str = "tensorflow"
    setting: str = ""


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
    found = look()
    if found is None:
        return
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
        library = LIBRARIES[found.library]
        session.warn(
            f"The spec asks for {asked} GPUs, and {library.name} uses {found.visible}.",
            f"A script uses several GPUs only with {library.strategy}.",
        )


def look() -> Devices | None:
    """Find the GPUs that the library which trains sees; None where none of them is loaded.

    Of TensorFlow and PyTorch none is initialised by it. JAX, which would take most of a GPU, is
    asked only where it is the one that trains, or has begun already.
    """
    first: Devices | None = None
    for name in _training():
        found = _LOOKS[name](sys.modules[name])
        if found.visible:
            return found
        first = first or found
    return first


def _training() -> list[str]:
    """Name the modules that may train: the backend of Keras first, then those that are loaded."""
    loaded = [name for name in LIBRARIES if name in sys.modules]
    keras: Any = sys.modules.get("keras")
    try:
        backend = str(keras.config.backend())
    except AttributeError:  # no Keras, or legacy Keras
        return [name for name in loaded if name != "jax" or loaded == ["jax"] or _has_begun(name)]
    # a loop of another library may only have imported Keras
    others = [name for name in loaded if name != backend and _has_begun(name)]
    return [backend, *others] if backend in loaded else others


def _has_begun(name: str) -> bool:
    """Return whether a script has used a device of a library already."""
    if name == "torch":
        return bool(sys.modules["torch"].cuda.is_initialized())
    if name == "jax":
        bridge: Any = sys.modules.get("jax._src.xla_bridge")
        return bool(getattr(bridge, "backends_are_initialized", lambda: False)())
    return False


def _look_by_tensorflow(tensorflow: Any) -> Devices:
    config = tensorflow.config
    return _seen(
        "tensorflow",
        physical=len(config.list_physical_devices("GPU")),
        visible=len(config.get_visible_devices("GPU")),
        built=bool(tensorflow.test.is_built_with_gpu_support()),
    )


def _look_by_torch(torch: Any) -> Devices:
    version = torch.version
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = os.environ.get("KERAS_TORCH_DEVICE", "")
    on_cpu = "keras" in sys.modules and chosen.startswith("cpu")
    return _seen(
        "torch",
        physical=number,
        visible=0 if on_cpu else number,
        built=bool(version.cuda or getattr(version, "hip", None)),
        setting=f"KERAS_TORCH_DEVICE={chosen}" if on_cpu else "",
    )


def _look_by_jax(jax: Any) -> Devices:
    try:
        physical = len(jax.local_devices(backend="gpu"))
    except RuntimeError:  # it has no such platform
        physical = 0
    visible = sum(one.platform == "gpu" for one in jax.local_devices())
    platforms = str(jax.config.jax_platforms or "")
    setting = f"JAX_PLATFORMS={platforms}" if platforms in ("cpu", "tpu") else ""
    if physical and not visible and not setting:
        setting = f"JAX's default platform, {jax.default_backend()},"
    return _seen(
        "jax",
        physical=physical,
        visible=visible,
        built=physical > 0 or any(map(find_spec, ("jax_cuda13_plugin", "jax_cuda12_plugin"))),
        setting=setting,
    )


def _seen(library: str, *, physical: int, visible: int, built: bool, setting: str = "") -> Devices:
    cuda_visible = os.environ.get(_VISIBLE)
    return Devices(physical, visible, built, cuda_visible, closed_nodes(), library, setting)


_LOOKS: Final = {"tensorflow": _look_by_tensorflow, "torch": _look_by_torch, "jax": _look_by_jax}


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
    library = LIBRARIES[found.library]
    pip = f"{python} -m pip"
    asked = f"`gpus = {gpus}`" if gpus else "`require_gpu = true`"
    what = f"The spec says {asked}, and {library.name} sees no GPU"
    if found.setting:
        why = f"{found.setting} leaves GPUs out"
        do = "Remove that setting (an environment variable, or a call that sets it)."
    elif found.physical:
        hides = "`tf.config.set_visible_devices`"
        why = f"the script hides {_count(found.physical)} with {hides}"
        do = "Remove that call from the script."
    elif not found.built:
        why = f"{python} has a {library.name} that was built for the CPU only"
        do = f"{pip} {library.cpu_build}; {pip} install {library.install}."
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
        do = f"Check `nvidia-smi`; {pip} install {library.install} installs the libraries."
    return Missing(f"{what}: {why}.", do)


def _count(number: int) -> str:
    return "1 GPU" if number == 1 else f"all {number} GPUs"
