"""Random generators of PyTorch, once the script has imported it: of the processor and each GPU."""

import sys
from typing import Any

from rekindle.jobs.capture.codec import Tensors, decode, encode


def _states() -> dict[str, Any]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return {}
    found = {"cpu": torch.get_rng_state()}
    # not before the script has: it would take memory of each GPU
    if torch.cuda.is_initialized():
        found |= {str(i): one for i, one in enumerate(torch.cuda.get_rng_state_all())}
    return found


def capture(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """Capture the states, as JSON and arrays; empty without PyTorch."""
    found = {
        name: encode(state.numpy(), tensors, f"{prefix}/torch/{name}")
        for name, state in _states().items()
    }
    return {"torch": found} if found else {}


def fingerprint() -> dict[str, bytes]:
    """Return the current states, for comparison."""
    return {f"torch {name}": state.numpy().tobytes() for name, state in _states().items()}


def restore(state: dict[str, Any], tensors: Tensors) -> None:
    """Restore what :func:`capture` returned, of the generators that exist."""
    torch: Any = sys.modules.get("torch")
    for name, body in state.get("torch", {}).items() if torch is not None else ():
        value = torch.from_numpy(decode(body, tensors))
        if name == "cpu":
            torch.set_rng_state(value)
        elif int(name) < torch.cuda.device_count():
            torch.cuda.set_rng_state(value, int(name))
