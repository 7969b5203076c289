"""Judge the health of the GPUs: from their readings, from past events, and what a person accepted.

What was noted is in `queue.json`, so that a restarted daemon knows it; a new boot clears it, since
a reboot resets the GPUs. Damage that a reboot does not repair is in the next reading.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Final

import structlog

from rekindle.daemon.gpus import faults
from rekindle.daemon.gpus.faults import Fault, Severity, Slowdown
from rekindle.daemon.gpus.monitor import Seen
from rekindle.daemon.gpus.placement import Gpu
from rekindle.daemon.queue_file import FaultyGpu, QueueFile
from rekindle.state.ledger.ledger import Ledger

SLOW_S: Final = 180.0
_MISSING: Final = "the driver no longer shows it"


class Health:
    """Find the faults of each GPU, and report when they change.

    Args:
        silent_after: seconds without an answer that are a fault.
        slow_after: seconds of reduced clocks that are a fault.
    """

    def __init__(
        self, ledger: Ledger, file: QueueFile, *, silent_after: float, slow_after: float = SLOW_S
    ) -> None:
        self._ledger = ledger
        self._file = file
        self._silent_after = silent_after
        self._slow_after = slow_after
        self._slow: dict[str, Slowdown] = {}
        self._unwritten: list[tuple[str, str]] = []
        self._reported: dict[str, frozenset[str]] = {}
        self._log = structlog.get_logger()

    def judge(self, seen: Seen, xids: Iterable[tuple[str, int]], now: float) -> tuple[Gpu, ...]:
        """Return all GPUs of a reading with their faults, and those that it no longer shows.

        Args:
            xids: the events since the last call.
            now: monotonic time, seconds.
        """
        for uuid, xid in xids:
            self._take(uuid, faults.note(xid, time.strftime("%Y-%m-%d %H:%M:%S")))
        self._note()
        gpus = [self._identified(gpu) for gpu in seen.gpus]
        missing = self._follow_known(gpus, seen)
        judged = (*(self._judged(gpu, now) for gpu in gpus), *missing)
        if not seen.trouble:
            self._report(judged)
        return judged

    def known(self) -> int:
        """Count the GPUs that the driver has shown."""
        return len(self._file.now.known)

    def accept(self, gpu: Gpu) -> None:
        """Use a GPU again despite its current faults; forget one that is missing."""
        decided = self._file.now
        texts = [fault.text for fault in gpu.faults]
        accepted = {
            **decided.accepted,
            gpu.uuid: sorted({*decided.accepted.get(gpu.uuid, []), *texts}),
        }
        known = decided.known
        if any(fault.kind == "missing" for fault in gpu.faults):
            known = {uuid: about for uuid, about in known.items() if uuid != gpu.uuid}
        self._file.decide(accepted=accepted, known=known)

    def _identified(self, gpu: Gpu) -> Gpu:
        """Name a GPU that the driver cannot name any more by what it was before."""
        if gpu.uuid:
            return gpu
        for uuid, (label, name) in self._file.now.known.items():
            if label == gpu.label:
                return replace(gpu, uuid=uuid, name=name)
        return replace(gpu, uuid=f"GPU-of-index-{gpu.label}")

    def _follow_known(self, gpus: Iterable[Gpu], seen: Seen) -> list[Gpu]:
        """Remember the GPUs that are shown; return the known ones that are not."""
        if seen.trouble or not seen.wanted:
            return []
        before = self._file.now.known
        shown = {gpu.card: [gpu.label.partition(":")[0], gpu.name] for gpu in gpus}
        gone = {uuid for uuid in before if uuid not in shown and uuid not in seen.cards}
        if len(shown) >= len(before):
            gone = set()  # another card was put in its place
        known = {**{uuid: before[uuid] for uuid in gone}, **shown}
        if known != before and not any(uuid.startswith("GPU-of-") for uuid in shown):
            self._record(known=known)
        fault = Fault("missing", _MISSING, Severity.FATAL)
        return [Gpu(uuid, before[uuid][0], before[uuid][1], faults=(fault,)) for uuid in gone]

    def _judged(self, gpu: Gpu, now: float) -> Gpu:
        decided = self._file.now
        accepted = decided.accepted.get(gpu.uuid, ())
        notes = [*decided.noted.get(gpu.uuid, ()), *decided.noted.get(gpu.parent, ())]
        notes += [text for uuid, text in self._unwritten if uuid in (gpu.uuid, gpu.parent)]
        found = [*faults.of_facts(gpu.facts, self._silent_after)]
        found += [
            fault
            for fault in (faults.of_note(text, gpu.facts) for text in notes)
            if fault is not None
        ]
        slow = faults.follow_slowdown(
            self._slow.pop(gpu.uuid, None), gpu.facts.slowdown, now, time.strftime("%H:%M")
        )
        if slow is not None:
            self._slow[gpu.uuid] = slow
            fault = slow.fault(self._slow_after)
            found += [fault] if fault is not None else []
        return replace(gpu, faults=tuple(one for one in found if one.text not in accepted))

    def _take(self, uuid: str, text: str) -> None:
        """Take an event; one that repeats a thousand times is one fault until it is accepted."""
        fault, decided = faults.of_note(text), self._file.now
        accepted = {one for texts in decided.accepted.values() for one in texts}
        known = [*decided.noted.get(uuid, ()), *(one for on, one in self._unwritten if on == uuid)]
        kinds = {_kind(one) for one in known if one not in accepted}
        if fault is not None and fault.kind not in kinds:
            self._unwritten.append((uuid, text))

    def _note(self) -> None:
        """Record new events durably; while that fails they are kept, and tried again."""
        if not self._unwritten:
            return
        noted = {uuid: list(texts) for uuid, texts in self._file.now.noted.items()}
        for uuid, text in self._unwritten:
            noted.setdefault(uuid, []).append(text)
        if self._record(noted=noted):
            self._unwritten = []

    def _report(self, gpus: Iterable[Gpu]) -> None:
        """Record changes of the kinds of faults; their numbers may change at every reading."""
        faulty = [gpu for gpu in gpus if gpu.faults]
        now = {gpu.uuid: frozenset(fault.kind for fault in gpu.faults) for gpu in faulty}
        # what an earlier daemon recorded may be over
        if now == self._reported and (now or not self._file.now.faulty):
            return
        for gpu in faulty:
            if self._reported.get(gpu.uuid) != now[gpu.uuid]:
                event = "gpu_set_aside" if gpu.set_aside else "gpu_watched"
                self._say(event, gpu.uuid, faults=[fault.text for fault in gpu.faults])
        for uuid in self._reported.keys() - now.keys():
            self._say("gpu_sound", uuid)
        recorded = [
            FaultyGpu(
                gpu.uuid,
                gpu.label,
                gpu.name,
                gpu.set_aside,
                tuple(fault.text for fault in gpu.faults),
            )
            for gpu in faulty
        ]
        self._record(faulty=[asdict(one) for one in recorded])
        self._reported = now

    def _record(self, **changes: Any) -> bool:
        """Write to the file; a full disk must not keep attempts from being ended."""
        try:
            self._file.decide(**changes)
        except OSError as error:
            self._log.warning("gpu_state_not_written", message=str(error))
            return False
        return True

    def _say(self, event: str, uuid: str, **about: Any) -> None:
        self._ledger.add_event(event, data={"gpu": uuid, **about})
        if event == "gpu_set_aside":
            self._log.error(event, gpu=uuid, hint=f"rekindle resume --gpu {uuid}", **about)
        else:
            self._log.warning(event, gpu=uuid, **about)


def _kind(text: str) -> str | None:
    fault = faults.of_note(text)
    return None if fault is None else fault.kind
