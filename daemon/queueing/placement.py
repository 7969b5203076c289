"""Decide which GPUs can be allocated: pure, from the driver's reading and the GPUs of attempts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

APPLICATION_XIDS: Final = frozenset({13, 31, 43, 45, 68, 109})
"""Errors of a program after which the GPU is still usable; every other XID sets it aside.

Source: the health check of NVIDIA's Kubernetes device plugin.
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describe a GPU, or a MIG instance, as the driver shows it; memory in bytes.

    Attributes:
        label: its index as nvidia-smi shows it, ``0`` or ``0:1``.
        parent: UUID of the GPU that a MIG instance belongs to.
        faults: descriptions of its faults; empty if it is usable.
    """

    uuid: str
    label: str
    name: str = ""
    total: int = 0
    free: int = 0
    faults: tuple[str, ...] = ()
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Stock:
    """State which GPUs can be allocated.

    Attributes:
        allocatable: UUIDs that can be allocated now, in the order of their labels.
        reclaimable: how many are allocatable or become so when our attempts end.
        unavailable: why the others are not reclaimable, one sentence each.
    """

    allocatable: tuple[str, ...] = ()
    reclaimable: int = 0
    unavailable: tuple[str, ...] = ()


def visible(gpus: Iterable[Gpu], allowed: str | None) -> tuple[Gpu, ...]:
    """Select the GPUs that the daemon's own ``CUDA_VISIBLE_DEVICES`` allows.

    Args:
        allowed: UUIDs, prefixes of UUIDs or labels, as CUDA reads them: what follows the first
            that does not exist is ignored. None for all.
    """
    found = tuple(gpus)
    if allowed is None:
        return found
    chosen: list[Gpu] = []
    for word in (part.strip() for part in allowed.split(",")):
        match = [
            gpu
            for gpu in found
            if word and (gpu.label == word or (not word.isdigit() and gpu.uuid.startswith(word)))
        ]
        if len(match) != 1 or match[0] in chosen:
            break
        chosen.append(match[0])
    return tuple(sorted(chosen, key=found.index))


def with_faults(
    gpus: Iterable[Gpu],
    noted: Mapping[str, Collection[str]],
    accepted: Mapping[str, Collection[str]],
) -> tuple[Gpu, ...]:
    """Add recorded faults to GPUs; drop those that a person accepted."""
    return tuple(
        replace(
            gpu,
            faults=tuple(
                fault
                for fault in dict.fromkeys(
                    [*gpu.faults, *noted.get(gpu.uuid, ()), *noted.get(gpu.parent, ())]
                )
                if fault not in accepted.get(gpu.uuid, ())
            ),
        )
        for gpu in gpus
    )


def take_stock(
    gpus: Iterable[Gpu],
    *,
    held: Collection[str],
    settling: Collection[str] = (),
    free_share: float = 0.8,
) -> Stock:
    """Decide which GPUs can be allocated.

    Args:
        held: UUIDs of the GPUs of our attempts.
        settling: UUIDs that were released recently: the driver may need time to free their
            memory, and they still count as reclaimable.
        free_share: the part of its memory that must be free before a GPU is allocated.
    """
    allocatable: list[str] = []
    unavailable: list[str] = []
    reclaimable = 0
    for gpu in gpus:
        if gpu.faults:
            unavailable.append(f"GPU {gpu.label} is set aside ({'; '.join(gpu.faults)})")
        elif gpu.uuid in held:
            reclaimable += 1
        elif gpu.free >= free_share * gpu.total:
            reclaimable += 1
            allocatable.append(gpu.uuid)
        elif gpu.uuid in settling:
            reclaimable += 1
        else:
            unavailable.append(f"GPU {gpu.label} is in use by another program")
    return Stock(tuple(allocatable), reclaimable, tuple(unavailable))
