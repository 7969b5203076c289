"""Collect what a report about GPUs says: from NVML and from the TensorFlow of an interpreter.

Both are asked in processes of their own, with a limit: a driver in trouble may never answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rekindle.daemon.gpus import faults
from rekindle.daemon.gpus.faults import Facts
from rekindle.jobs import bootstrap, provenance

_NVML_S: Final = 30.0
_TENSORFLOW_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Card:
    """Describe a GPU as NVML shows it.

    Attributes:
        slowdown: reasons for reduced clocks at the moment of the reading.
        faults: what `rekindle` makes of its state.
    """

    label: str
    name: str
    memory: int
    settings: Mapping[str, str]
    slowdown: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """Hold all facts of a report.

    Attributes:
        nvml: versions that NVML reports; empty if it did not answer.
        nvml_error: why it did not.
        tensorflow: what `rekindle.jobs.trainer.gpu_facts` found in the interpreter.
    """

    cpu: str
    kernel: str
    kernel_module: str | None
    nvml: Mapping[str, str] = field(default_factory=dict)
    nvml_error: str = ""
    cards: tuple[Card, ...] = ()
    tensorflow: Mapping[str, Any] = field(default_factory=dict)

    @property
    def visible(self) -> list[dict[str, str]]:
        """The GPUs that TensorFlow sees."""
        return list(self.tensorflow.get("gpus") or [])


def collect(python: str, env: Mapping[str, str]) -> GpuFacts:
    """Ask NVML and the TensorFlow of an interpreter.

    Args:
        env: the `env` of the job.
    """
    machine = provenance.machine()
    nvml = _ask(sys.executable, "rekindle.daemon.gpus.probe", "once", limit=_NVML_S)
    found = _ask(python, "rekindle.jobs.trainer.gpu_facts", env=env, limit=_TENSORFLOW_S)
    return GpuFacts(
        cpu=str(machine["cpu"]),
        kernel=str(machine["kernel"]),
        kernel_module=machine["driver"],
        nvml=nvml.get("about", {}),
        nvml_error=str(nvml.get("trouble") or nvml.get("error") or "").removeprefix("NVML: "),
        cards=tuple(_card(one, gpu) for one in nvml.get("cards", []) for gpu in one["gpus"]),
        tensorflow=found,
    )


def _ask(
    python: str, module: str, *args: str, limit: float, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module that prints one line of JSON; an error becomes its ``error``."""
    command = bootstrap.command(python, module, *args)
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError as error:
        return {"error": f"cannot be run: {error.strerror}"}
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()  # not waited for: it may be blocked in the driver
        return {"error": f"no answer within {limit:.0f} s"}
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {"error": f"no answer (exit code {process.returncode})"}


def _card(record: Mapping[str, Any], gpu: Mapping[str, Any]) -> Card:
    facts = Facts(**gpu["facts"])
    slowed = [name for bit, name in faults.SLOWDOWNS.items() if facts.slowdown & bit]
    return Card(
        label=str(gpu["label"]),
        name=str(gpu["name"]),
        memory=int(gpu["total"]),
        settings=record["settings"],
        slowdown=tuple(slowed),
        faults=tuple(fault.text for fault in faults.of_facts(facts, float("inf"))),
    )
