"""Collect what an attempt runs on (code, packages, host), and compare it with the last attempt.

Bit-identical results need the same code, libraries and hardware. rekindle cannot prevent an
update of a driver or of TensorFlow between two attempts, but it reports it. Everything is read
from files and installed metadata, in milliseconds, without an import of the packages.
"""

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.job import Job
from rekindle.state.paths import Run
from rekindle.state.run import entries, summary

# the first installed one of each row: TensorFlow has several package names
_PACKAGES: Final = (
    ("keras",),
    ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu"),
    ("jax",),
    ("jaxlib",),
    ("flax",),
    ("optax",),
    ("torch",),
    ("numpy",),
)
_NVIDIA: Final = Path("/proc/driver/nvidia")


def collect(job: Job) -> dict[str, Any]:
    """Collect Python, packages, host and code of the calling process, as JSON values."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": packages(),
        "machine": machine(),
        "code": code(job),
    }


def packages() -> dict[str, str]:
    """Find the installed versions of the packages that determine the numbers."""
    found = {}
    for names in _PACKAGES:
        for name in names:
            installed = version(name)
            if installed is not None:
                found[name] = installed
                break
    return found


def version(package: str) -> str | None:
    """Find the version of an installed package; None if it is not installed."""
    # late: the keeper must stay small
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def own_version() -> str:
    """Find the version of rekindle; ``0`` where it runs without being installed."""
    return version("rekindle") or "0"


def machine() -> dict[str, Any]:
    """Describe CPU, usable cores, memory in bytes, kernel, GPUs and driver of the host."""
    gpus = _visible(_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return {
        "host": os.uname().nodename,
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": os.uname().release,
        "gpus": [model for _, model in gpus],
        "driver": driver(),
    }


def code(job: Job) -> dict[str, Any]:
    """Identify the attempt's code: digest and commit of the snapshot, or of the live script."""
    if job.source is not None:
        return {
            "live": False,
            "digest": job.source.digest,
            "commit": job.source.commit,
            "dirty": job.source.dirty,
            "script": _script_digest(job),
        }
    return {
        "live": True,
        "digest": None,
        "script": _script_digest(job),
        "dirty": None,
        "commit": _commit(Path(os.path.realpath(job.script or job.workdir))),
    }


def previous(run: Run, attempt: int) -> dict[str, Any] | None:
    """Find in the journal what the latest attempt before this one ran on."""
    for entry in entries.provenance.among(reversed(summary.read(run).entries)):
        if int(entry.get("attempt") or 0) < attempt:
            return entry
    return None


def changes(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """List the differences that may change the numbers; memory and kernel do not."""
    if old is None:
        return []
    found = [_differs("python", old.get("python"), new.get("python"))]
    before, after = old.get("packages") or {}, new.get("packages") or {}
    found += [
        _differs(name, before.get(name), after.get(name)) for name in sorted({*before, *after})
    ]
    before, after = old.get("machine") or {}, new.get("machine") or {}
    for key, name in (("cpu", "CPU"), ("cores", "cores"), ("driver", "NVIDIA driver")):
        found.append(_differs(name, before.get(key), after.get(key)))
    found.append(_differs("GPUs", _list(before.get("gpus")), _list(after.get("gpus"))))
    before, after = old.get("code") or {}, new.get("code") or {}
    for key in ("digest", "script"):
        if before.get(key) != after.get(key):
            found.append("the code" if key == "digest" else "the script")
            break
    return [text for text in found if text]


def driver() -> str | None:
    """Read the version of NVIDIA's kernel module; None if it is not loaded."""
    for path in (_NVIDIA / "version", Path("/sys/module/nvidia/version")):
        try:
            match = re.search(r"\b(\d{2,4}\.\d+(?:\.\d+)?)\b", path.read_text())
        except OSError:
            continue
        if match:
            return match[1]
    return None


def _differs(name: str, old: object, new: object) -> str:
    return "" if old == new else f"{name} {_shown(old)} → {_shown(new)}"


def _shown(value: object) -> str:
    return "none" if value in (None, "") else str(value)


def _list(value: Any) -> str:
    return ", ".join(map(str, value or []))


def _cpu() -> str:
    try:
        match = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        match = None
    return match[1].strip() if match else os.uname().machine


def _gpus() -> list[tuple[str, str]]:
    """List UUID and model of each GPU of the host, in the order of their bus addresses."""
    found = []
    for path in sorted(_NVIDIA.glob("gpus/*/information")):
        try:
            about = dict(re.findall(r"^([\w ]+):\s*(.*?)\s*$", path.read_text(), re.MULTILINE))
        except OSError:
            continue
        found.append((about.get("GPU UUID", ""), about.get("Model", "unknown")))
    return found


def _visible(gpus: list[tuple[str, str]], names: str | None) -> list[tuple[str, str]]:
    """Select the GPUs that ``CUDA_VISIBLE_DEVICES`` names; all if it is not set.

    Like CUDA, it ignores an invalid name and all after it.
    """
    if names is None:
        return gpus
    found: list[tuple[str, str]] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name.isdigit() and int(name) < len(gpus):
            found.append(gpus[int(name)])
            continue
        mine = [gpu for gpu in gpus if gpu[0].startswith(name)]
        if not mine:
            break
        found.append(mine[0])
    return found


def _script_digest(job: Job) -> str | None:
    if job.script is None:
        return None
    if job.source is not None and job.source.script_sha256:
        return job.source.script_sha256
    try:
        return hashlib.sha256(Path(job.script).read_bytes()).hexdigest()
    except OSError:
        return None


def _commit(place: Path) -> str | None:
    """Read HEAD of the repository around a path from its files, without git."""
    for folder in (place, *place.parents):
        git = folder / ".git"
        try:
            if git.is_file():
                git = folder / git.read_text().removeprefix("gitdir:").strip()
            if not git.is_dir():
                continue
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref:"):
                return head
            name = head.removeprefix("ref:").strip()
            common = (
                git / (git / "commondir").read_text().strip()
                if (git / "commondir").exists()
                else git
            )
            if (common / name).exists():
                return (common / name).read_text().strip()
            match = re.search(
                rf"^([0-9a-f]+) {re.escape(name)}$",
                (common / "packed-refs").read_text(),
                re.MULTILINE,
            )
            return match[1] if match else None
        except OSError:
            return None
    return None
