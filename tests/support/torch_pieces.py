"""Move tensors of PyTorch in pieces through two buffers, without a GPU; run by tests/keras."""

import contextlib
import types

import numpy as np
import torch

from rekindle.jobs.weights import device_copies


class Nothing:
    """Stand for a stream or an event of CUDA."""

    def __init__(self, *_arguments: object) -> None: ...

    def record(self, *_stream: object) -> None: ...

    def wait_event(self, _event: object) -> None: ...

    def synchronize(self) -> None: ...


def main() -> None:
    device_copies.PIECE = 4104
    cuda = types.SimpleNamespace(
        Stream=Nothing, Event=Nothing, stream=lambda _: contextlib.nullcontext()
    )
    library = types.SimpleNamespace(cuda=cuda, empty=torch.empty, uint8=torch.uint8)
    way = device_copies._WayOut(library, "cpu")
    for kind in (torch.float32, torch.float64, torch.int64, torch.float16, torch.bool, torch.uint8):
        for number in (1, 500, 1026, 4104, 20_001):
            given = (torch.arange(number) % 251).to(kind)
            there = np.zeros(number, given.numpy().dtype)
            way.move(given, Nothing(), there)
            assert np.array_equal(there, given.numpy()), (kind, number)


if __name__ == "__main__":
    main()
