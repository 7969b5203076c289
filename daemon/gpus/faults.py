"""Decide what a fault of a GPU means for jobs: pure, from what the driver reports.

The table of XIDs follows the immediate action of NVIDIA's XID catalogue (docs.nvidia.com/deploy/
xid-errors, "Analyzing Xid Errors with the Xid Catalog", 2025-10). Where it differs, the entry says
so.
"""

import enum
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from rekindle.state.counted import counted


class Severity(enum.IntEnum):
    """State what a fault means for jobs.

    WATCH: the GPU is used if no other is free. NO_NEW: no attempt gets it; one that runs on it
    continues. FATAL: no attempt gets it, and one that runs on it is ended and resumed elsewhere.
    """

    WATCH = 1
    NO_NEW = 2
    FATAL = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """Describe one fault of a GPU.

    Attributes:
        kind: names the fault, whatever its numbers; a change of it is reported.
        passes: it may end without a person and without a reset.
    """

    kind: str
    text: str
    severity: Severity
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what the driver reports of the health of one GPU; None where it reports nothing.

    Attributes:
        uncorrected: uncorrected memory errors since the driver was loaded.
        rows_pending, rows_failed: memory rows that are replaced at the next reset; one could not
            be replaced.
        pages_pending: memory pages are retired at the next reset (GPUs before Ampere).
        recovery: the action that the driver asks for, one of :data:`RECOVERY`.
        slowdown: bits of the reasons for reduced clocks.
        error: what NVML says where the GPU could not be read.
        lost: the GPU is off the bus or needs a reset, as far as NVML says.
        silent: seconds since its latest reading began.
    """

    uncorrected: int | None = None
    rows_pending: bool = False
    rows_failed: bool = False
    pages_pending: bool = False
    recovery: int | None = None
    slowdown: int = 0
    error: str = ""
    lost: bool = False
    silent: float = 0.0


class Xid(NamedTuple):
    """Describe an XID; a severity of None stands for an error of a program."""

    text: str
    severity: Severity | None


_FATAL, _NO_NEW, _WATCH = Severity.FATAL, Severity.NO_NEW, Severity.WATCH
XIDS: Final[dict[int, Xid]] = {
    # errors of a program: it fails by itself, and the GPU is sound
    8: Xid("GPU stopped processing", None),
    11: Xid("invalid push buffer stream", None),
    13: Xid("graphics engine exception", None),
    25: Xid("invalid push buffer stream", None),
    31: Xid("GPU memory page fault", None),
    32: Xid("invalid push buffer stream", None),
    **{code: Xid("copy engine exception", None) for code in (39, 40, 41, *range(70, 73))},
    43: Xid("GPU stopped processing", None),
    44: Xid("graphics engine fault", None),
    45: Xid("preemptive cleanup after another error", None),
    60: Xid("video processor exception", None),
    68: Xid("video decoder exception", None),
    69: Xid("graphics engine class error", None),
    **{code: Xid("copy engine error", None) for code in (75, 76, 77, 85, *range(126, 136))},
    80: Xid("corrupted data sent to the GPU", None),
    **{code: Xid("video or JPEG engine error", None) for code in (82, 83, 84, 86, 88, 89, 139)},
    **{code: Xid("video or JPEG engine error", None) for code in range(96, 106)},
    # the catalogue asks for a reset; the Kubernetes device plugin ignores it, and a driver that
    # wants a reset says so by its recovery action
    109: Xid("context switch timeout", None),
    # to be ignored
    **{
        code: Xid("informational", None)
        for code in (14, 37, 38, 66, 67, 93, 106, 107, 108, 121, 137, 141, 152, 153, 160, 161)
    },
    # contained by the GPU: it can be used at once
    63: Xid("memory row or page to be replaced", _WATCH),
    92: Xid("high rate of corrected memory errors", _WATCH),
    94: Xid("contained memory error", _WATCH),
    157: Xid("resource not retired", _WATCH),
    **{code: Xid("NVLink error", _WATCH) for code in range(144, 151)},
    # the GPU needs a reset, a reboot or a repair
    46: Xid("GPU stopped processing", _FATAL),
    48: Xid("double-bit memory error", _FATAL),
    54: Xid("auxiliary power is not connected", _FATAL),
    61: Xid("internal micro-controller breakpoint", _FATAL),
    62: Xid("internal micro-controller halt", _FATAL),
    64: Xid("memory row or page not replaced", _FATAL),
    74: Xid("NVLink error", _FATAL),
    79: Xid("GPU has fallen off the bus", _FATAL),
    95: Xid("uncontained memory error", _FATAL),
    110: Xid("security fault", _FATAL),
    119: Xid("GSP does not answer", _FATAL),
    120: Xid("GSP error", _FATAL),
    136: Xid("link training failed", _FATAL),
    140: Xid("unrecovered memory error", _FATAL),
    143: Xid("GPU initialization error", _FATAL),
    151: Xid("key rotation error", _FATAL),
    # the action itself is read with the GPU's state, where the driver reports it
    154: Xid("recovery action changed", _FATAL),
    155: Xid("NVLink error", _FATAL),
    156: Xid("resource retired", _FATAL),
    158: Xid("GPU fatal timeout", _FATAL),
    167: Xid("PCIe fatal timeout", _FATAL),
    169: Xid("internal micro-controller halt", _FATAL),
    171: Xid("uncorrectable memory error", _FATAL),
    172: Xid("uncorrectable memory error", _FATAL),
}
_UNKNOWN: Final = Xid("not in our table", _NO_NEW)
_RECOVERY_CHANGED: Final = 154
_NOTE: Final = re.compile(r"XID (\d+)\b")

RECOVERY: Final = {
    0: ("", _WATCH),
    1: ("needs a reset", _FATAL),
    2: ("needs a reboot of the host", _FATAL),
    3: ("must not get new work until it is reset", _NO_NEW),
    4: ("must not get new work until it is reset", _NO_NEW),
    5: ("needs its IMEX domain recovered", _FATAL),
    6: ("needs a reset of its bus", _FATAL),
    7: ("needs a reboot of the host", _FATAL),
}
"""Meaning of the actions that the driver asks for (NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)."""


def note(xid: int, when: str) -> str:
    """Describe an XID event for a person; :func:`of_note` reads it again."""
    return f"XID {xid} ({XIDS.get(xid, _UNKNOWN).text}) at {when}"


def of_note(text: str, facts: Facts = Facts()) -> Fault | None:
    """Return the fault that a recorded event means; None for an error of a program.

    Args:
        facts: what the driver reports of the GPU now.
    """
    found = _NOTE.match(text)
    if found is None:
        return Fault(text, text, Severity.FATAL)
    code = int(found[1])
    if code == _RECOVERY_CHANGED and facts.recovery is not None:
        return None
    severity = XIDS.get(code, _UNKNOWN).severity
    return None if severity is None else Fault(f"XID {code}", text, severity)


def of_facts(facts: Facts, silent_after: float) -> tuple[Fault, ...]:
    """Return the faults that a reading of a GPU shows.

    Args:
        silent_after: seconds without an answer that are a fault.
    """
    found = []
    if facts.silent > silent_after:
        text = f"NVML has not answered for it for {silent_after:.0f} s"
        found.append(Fault("silent", text, Severity.NO_NEW, passes=True))
    if facts.error:
        severity = Severity.FATAL if facts.lost else Severity.NO_NEW
        kind = "lost" if facts.lost else "unreadable"
        found.append(Fault(kind, facts.error, severity, passes=not facts.lost))
    if facts.recovery:
        text, severity = RECOVERY.get(facts.recovery, ("needs a recovery", Severity.FATAL))
        found.append(Fault("recovery", f"the driver says that it {text}", severity))
    if facts.uncorrected:
        # a driver that reports its recovery action knows if the error was contained
        severity = Severity.FATAL if facts.recovery is None else Severity.WATCH
        text = counted(facts.uncorrected, "uncorrected memory error")
        found.append(Fault("memory errors", text, severity))
    if facts.rows_failed:
        text = "a row of its memory could not be replaced"
        found.append(Fault("rows failed", text, Severity.NO_NEW))
    elif facts.rows_pending:
        # NVIDIA: work continues, and new work may start, without loss of accuracy
        text = "a row of its memory is replaced at its next reset"
        found.append(Fault("rows pending", text, Severity.WATCH))
    if facts.pages_pending:
        text = "a page of its memory is retired at its next reset"
        found.append(Fault("pages pending", text, Severity.WATCH))
    return tuple(found)


# reduced clocks

SLOWDOWNS: Final = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Reasons for reduced clocks that name trouble; a power cap and idleness do not."""
COOL_S: Final = 60.0
"""Time without a slowdown after which it is over; the reasons flicker."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Hold since when the clocks of a GPU have been reduced.

    Attributes:
        since, last: when it was first and last seen, monotonic seconds.
        when: wall-clock time of ``since``, for a person.
        reasons: all bits seen.
    """

    since: float
    last: float
    when: str
    reasons: int

    def fault(self, limit: float) -> Fault | None:
        """Return the fault, if the slowdown lasts ``limit`` seconds."""
        if self.last - self.since < limit:
            return None
        names = ", ".join(name for bit, name in SLOWDOWNS.items() if self.reasons & bit)
        text = f"its clocks have been reduced since {self.when} ({names})"
        return Fault("slowdown", text, Severity.NO_NEW, passes=True)


def follow_slowdown(known: Slowdown | None, bits: int, now: float, when: str) -> Slowdown | None:
    """Update a slowdown with a new reading; None if there is none or it is over."""
    bits &= sum(SLOWDOWNS)
    if bits and known is None:
        return Slowdown(now, now, when, bits)
    if bits and known is not None:
        return Slowdown(known.since, now, known.when, known.reasons | bits)
    if known is not None and now - known.last < COOL_S:
        return known
    return None
