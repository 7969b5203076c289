"""Compose the report of `verify-resume --gpu`: one block of text to paste into an issue.

It has no name of a host or user and no path, whatever an error message of a library says.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rekindle.daemon.verify_resume.gpu_facts import Card, GpuFacts
from rekindle.state.accounts import user_name

_WIDTH: Final = 22
_PATH: Final = re.compile(r"(?<![\w./~-])~?/[^\s:,;'\"()\[\]]*[^\s:,;'\"()\[\].]")
_SHORT: Final = 300


def compose(facts: GpuFacts, version: str, trial: Iterable[tuple[str, str]]) -> str:
    """Return the report in a fence of Markdown.

    Args:
        version: of rekindle.
        trial: lines about the trial, each a title and a text.
    """
    rows = [("rekindle", version), *_software(facts), *_host(facts)]
    for card in facts.cards:
        rows += _card(card)
    rows += [*_visible(facts), *_settings(facts), *trial]
    lines = [f"{title:<{_WIDTH}}{' '.join(anonymous(text).split())}" for title, text in rows]
    return "\n".join(["```text", "rekindle verify-resume --gpu", *lines, "```"])


def anonymous(text: str) -> str:
    """Replace paths and the names of this host and user."""
    text = _PATH.sub("<path>", text)
    for name, instead in ((socket.gethostname(), "<host>"), (user_name(os.getuid()), "<user>")):
        if len(name) > 1:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, text)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def _software(facts: GpuFacts) -> Iterator[tuple[str, str]]:
    found: Mapping[str, Any] = facts.tensorflow
    yield "Python", str(found.get("python", "unknown"))
    for name, version in (found.get("packages") or {}).items():
        built = ""
        if name.startswith(("tensorflow", "tf-nightly")) and "error" not in found:
            cuda, cudnn = found.get("cuda"), found.get("cudnn")
            built = f" (built for CUDA {cuda}, cuDNN {cudnn})" if cuda else " (built without CUDA)"
        elif name == "keras" and found.get("backend"):
            built = f" (backend {found['backend']})"
        yield name, f"{version}{built}"
    if found.get("error"):
        yield "TensorFlow", f"failed: {found['error']}"


def _host(facts: GpuFacts) -> Iterator[tuple[str, str]]:
    yield "CPU", facts.cpu
    yield "kernel", facts.kernel
    yield "kernel module", facts.kernel_module or "not loaded"
    if facts.nvml_error:
        yield "NVML", facts.nvml_error
    else:
        yield "NVML", ", ".join(f"{name} {version}" for name, version in facts.nvml.items())


def _card(card: Card) -> Iterator[tuple[str, str]]:
    settings = ", ".join(f"{name} {value}" for name, value in card.settings.items())
    yield f"GPU {card.label}", f"{card.name}, {card.memory / 2**30:.1f} GiB, {settings}"
    yield "  reduced clocks", ", ".join(card.slowdown) or "no"
    yield "  faults", "; ".join(card.faults) or "none"


def _visible(facts: GpuFacts) -> Iterator[tuple[str, str]]:
    names = [f"{gpu['name']} (compute capability {gpu['capability']})" for gpu in facts.visible]
    yield "seen by TensorFlow", "; ".join(names) or "no GPU"


def _settings(facts: GpuFacts) -> Iterator[tuple[str, str]]:
    found = facts.tensorflow
    words = {True: "on", False: "off", None: "unknown"}
    yield "TF32", words[found.get("tf32")]
    yield "XLA for all", words[found.get("jit")]
    yield "op determinism", f"{words[found.get('op_determinism')]} before the script"
    given = found.get("settings") or {}
    yield "environment", ", ".join(f"{k}={v}" for k, v in given.items()) or "nothing set"
