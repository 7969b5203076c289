"""Name the package that a verb lacks, with the command that installs it here."""

import importlib.util
import sys

from rekindle.state.errors import RekindleError


class ExtraMissing(RekindleError):
    """A package of an extra is not installed."""

    exit_code = 1


def missing(what: str, package: str, extra: str) -> ExtraMissing:
    """Describe a missing package.

    Args:
        what: what needs it; the subject of the sentence.
        extra: the extra of rekindle that has it; empty if it belongs to rekindle itself.
    """
    named = f" (the extra `{extra}`)" if extra else ""
    return ExtraMissing(
        f"{what} needs the package {package}{named}, which is not installed here.",
        where=sys.executable,
        hint=f"`{install(package)}` installs it.",
    )


def install(*packages: str) -> str:
    """Return the command that installs packages into the environment of this process."""
    # an environment of `uv tool` has no pip
    pip = f"{sys.executable} -m pip install"
    if importlib.util.find_spec("pip") is None:
        pip = f"uv pip install --python {sys.executable}"
    return " ".join([pip, *packages])
