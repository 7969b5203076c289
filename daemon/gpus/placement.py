"""Decide which GPUs can be allocated: pure, from the driver's reading and the GPUs of attempts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rekindle.daemon.gpus.faults import Facts, Fault, Severity


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describe a GPU, or a MIG instance, as the driver shows it; memory in bytes.

    Attributes:
        label: its index as nvidia-smi shows it, ``0`` or ``0:1``.
        parent: UUID of the GPU that a MIG instance belongs to.
        facts: what the driver reports of its health.
        faults: what that and past events mean; empty if it is sound.
    """

    uuid: str
    label: str
    name: str = ""
    total: int = 0
    free: int = 0
    parent: str = ""
    facts: Facts = field(default_factory=Facts)
    faults: tuple[Fault, ...] = ()

    @property
    def card(self) -> str:
        """UUID of the physical GPU."""
        return self.parent or self.uuid

    @property
    def severity(self) -> Severity | None:
        """The worst of its faults; None if it is sound."""
        return max((fault.severity for fault in self.faults), default=None)

    @property
    def set_aside(self) -> bool:
        """Return whether no attempt may get it."""
        return self.severity is not None and self.severity >= Severity.NO_NEW


@dataclass(frozen=True, slots=True)
class Stock:
    """State which GPUs can be allocated.

    Attributes:
        allocatable: UUIDs that can be allocated now, in the order of their labels; those with a
            fault that is only watched are last.
        reclaimable: how many are allocatable or become so when our attempts end.
        unavailable: why the others are not reclaimable, one sentence each.
        aside: UUIDs of those that are set aside.
        may_return: one that is unavailable may become available without a person.
    """

    allocatable: tuple[str, ...] = ()
    reclaimable: int = 0
    unavailable: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    may_return: bool = False


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
    allocatable: list[Gpu] = []
    unavailable: list[str] = []
    aside: list[str] = []
    reclaimable, may_return = 0, False
    for gpu in gpus:
        if gpu.set_aside:
            why = "; ".join(fault.text for fault in gpu.faults)
            unavailable.append(f"GPU {gpu.label} is set aside ({why})")
            aside.append(gpu.uuid)
            may_return = may_return or all(fault.passes for fault in gpu.faults)
        elif gpu.uuid in held:
            reclaimable += 1
        elif gpu.free >= free_share * gpu.total:
            reclaimable += 1
            allocatable.append(gpu)
        elif gpu.uuid in settling:
            reclaimable += 1
        else:
            unavailable.append(f"GPU {gpu.label} is in use by another program")
            may_return = True
    allocatable.sort(key=lambda gpu: gpu.severity is not None)  # stable
    return Stock(
        tuple(gpu.uuid for gpu in allocatable),
        reclaimable,
        tuple(unavailable),
        tuple(aside),
        may_return,
    )


def prefer(
    allocatable: Sequence[str], count: int, before: Collection[str], names: Mapping[str, str]
) -> tuple[str, ...]:
    """Choose GPUs for an attempt: those of the last attempt, else of its model, else any.

    A training is continued bit for bit on the same model only.

    Args:
        before: UUIDs of the last attempt's GPUs.
        names: models by UUID.
    """
    models = {names[uuid] for uuid in before if uuid in names}

    def rank(uuid: str) -> tuple[bool, bool]:
        return (bool(models) and names.get(uuid) not in models, uuid not in before)

    return tuple(sorted(allocatable, key=rank)[:count])
