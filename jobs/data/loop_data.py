"""Data of a loop: all its streams, and the position within its epoch."""

from collections.abc import Callable
from typing import Any

from rekindle.jobs.capture import fingerprint, rng, trace_order
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.capture.component import Caveat, ComponentBase, Json
from rekindle.jobs.data.loop_batches import Batches, LoopSource
from rekindle.state.run.training_state import Fingerprint, LoopState, TrainingState


class LoopData(ComponentBase):
    """Capture and restore the streams of a loop and the position within its epoch; a component.

    A stream is one source of batches. A call is the n-th use of ``batches()`` in an epoch.

    Args:
        seed: returns the seed of the job, and the stage; known once the loop runs.
        beat: called while data is read again; may end the process.
    """

    def __init__(self, seed: Callable[[], tuple[int, int]], beat: Callable[[], None]) -> None:
        self._seed = seed
        self._beat = beat
        self._streams: dict[int, Batches] = {}
        # index of the stream of each pass, in the order in which passes began: datasets that share
        # a shuffle draw from it in this order
        self._passes: list[int] = []
        # index of the stream of each call
        self._calls: list[int] = []
        self._call = 0
        self._exhausted = False
        # random state at the start of the epoch
        self._epoch_begin: tuple[Json, Tensors] = ({}, {})
        self._saved: LoopState = {}
        self._saved_arrays: Tensors = {}
        # the position in an interrupted epoch, until the script has reached it
        self._within: LoopState | None = None
        self._lenient = False

    @property
    def seed_generators(self) -> set[int]:
        """Numbers of the seed generators that data draws from."""
        return {n for stream in self._streams.values() for n in stream.source.seed_generators}

    # streams

    def add(self, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        """Add a stream; call before the loop begins."""
        return self._make(len(self._streams), data, batch_size, shuffle=shuffle)

    def _make(self, index: int, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        self._streams[index] = Batches(
            LoopSource(index, data, batch_size, shuffle=shuffle),
            lambda: self._passes.append(index),
            lambda: (self._seed()[0], self._seed()[1] * 4096 + index),
            self._beat,
        )
        return self._streams[index]

    def stream_of_call(self, data: Any, batch_size: int | None, *, shuffle: bool) -> Batches:
        """Return the stream of the next call, the same as that of this call in the last epoch.

        Raises:
            StateMismatch: the stream differs from that in the checkpoint.
        """
        number, self._call = self._call, self._call + 1
        if isinstance(data, Batches):
            if number == len(self._calls):
                self._calls.append(next(i for i, s in self._streams.items() if s is data))
            return data
        if number == len(self._calls):
            taken = {*self._streams, *self._calls, *self._passes}
            self._calls.append(max(taken, default=-1) + 1)
        index = self._calls[number]
        if index in self._streams:
            self._streams[index].renew(data)
        else:
            stream = self._make(index, data, batch_size, shuffle=shuffle)
            position = self._saved.get("streams", {}).get(str(index))
            found = None if position is None else stream.difference(position)
            if found is not None and not self._lenient:
                raise fingerprint.refuse(found)
            self._replay({index})
            if position is not None:
                stream.compare(position)
        return self._streams[index]

    # the position in an epoch

    def begin_epoch(self) -> bool:
        """Begin an epoch; True if it had begun before the checkpoint.

        The script then runs the code before the batches again, with the same random state.
        """
        self._call = 0
        if self._within is None:
            arrays: Tensors = {}
            self._epoch_begin = rng.capture(arrays, "epoch"), arrays
            return False
        rng.restore(self._within["random"], self._saved_arrays)
        kept = {k: value for k, value in self._saved_arrays.items() if k.startswith("epoch/")}
        self._epoch_begin = self._within["random"], kept
        return True

    def arrive(self) -> tuple[bool, bool]:
        """Locate the call that has begun, relative to the checkpoint.

        Returns:
            Whether it has batches left, and whether it is the one of the checkpoint, at which
            everything else must be restored.
        """
        within = self._within
        if within is None:
            self._exhausted = False
            return True, False
        if self._call < within["call"]:
            return False, False  # it had ended before the checkpoint
        self._within = None
        self._exhausted = within["exhausted"]
        return not self._exhausted, True

    def exhaust(self) -> None:
        """Record that all batches of a call are trained; more code of the epoch may follow."""
        self._exhausted = True

    def end_epoch(self) -> None:
        """End an epoch."""
        self._within = None
        self._call = 0
        self._exhausted = False

    # component

    def capture(self, arrays: Tensors) -> TrainingState:
        streams = {str(index): stream.position(arrays) for index, stream in self._streams.items()}
        random, kept = self._epoch_begin
        arrays.update(kept)
        return {
            "loop": {
                "call": self._call,
                "exhausted": self._exhausted,
                "calls": list(self._calls),
                "passes": list(self._passes),
                "streams": streams,
                "random": random,
                "traces": trace_order.captured(),
            }
        }

    def seek(self, saved: TrainingState, arrays: Tensors, *, lenient: bool) -> None:
        """Seek to the position of the checkpoint; call before everything else is restored.

        Args:
            lenient: a change of the data was allowed.
        """
        loop = saved["loop"]
        self._lenient = lenient
        self._saved, self._saved_arrays = loop, arrays
        self._calls = list(loop["calls"])
        self._passes = list(loop["passes"])
        trace_order.restore(loop.get("traces", {}))  # older checkpoints have none
        self._within = loop if loop["call"] else None
        self._replay(set(self._streams))

    def forget(self) -> None:
        """Drop the second copy of the model; keep the part of streams not opened yet."""
        self._saved_arrays = {
            key: value for key, value in self._saved_arrays.items() if key.startswith("data/")
        }

    @property
    def is_within(self) -> bool:
        """True until the script has reached the position of the checkpoint."""
        return self._within is not None

    def fingerprint(self) -> Fingerprint:
        return {"plan": {"the stage": "a loop"}}

    def difference(self, saved: TrainingState) -> str | None:
        positions = saved["loop"]["streams"]
        return next(
            (
                found
                for index, stream in self._streams.items()
                if str(index) in positions
                and (found := stream.difference(positions[str(index)])) is not None
            ),
            None,
        )

    def caveats(self) -> list[Caveat]:
        return [one for stream in self._streams.values() for one in stream.source.caveats]

    def receipt(self, saved: TrainingState) -> list[str]:
        return ["position in the data"]

    def unchecked(self, saved: TrainingState) -> list[str]:
        """List what is restored later, when the script has come to it."""
        streams = saved["loop"]["streams"]
        later = [f"data/{index}/" for index in streams if int(index) not in self._streams]
        return [*later, "epoch_start/", *([] if self._epoch_begin[1] else ["epoch/"])]

    def _replay(self, indices: set[int]) -> None:
        """Repeat the finished passes of these streams, and seek in the unfinished ones."""
        positions = {int(i): p for i, p in self._saved.get("streams", {}).items()}
        last = {index: at for at, index in enumerate(self._passes)}
        for at, index in enumerate(self._passes):
            if index in indices and index in positions:
                if last[index] == at and positions[index]["live"]:
                    self._streams[index].seek(positions[index], self._saved_arrays)
                else:
                    self._streams[index].skip_pass()
        for index in indices & positions.keys():
            if not positions[index]["live"]:
                self._streams[index].restore_own(positions[index], self._saved_arrays)
