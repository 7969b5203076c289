"""`rekindle wait` takes its limit as all others are written, or as bare seconds."""

import pytest

from rekindle.daemon.client import cli
from rekindle.state.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("10min", 600), ("1.5 h", 5400), ("600", 600), ("0.5", 0.5), ("0", 0)]
)
def test_a_time_to_wait(text: str, seconds: float) -> None:
    assert cli.verb_parser("wait").parse_args(["x-1", "--timeout", text]).timeout == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "5 parsecs", ""])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"such as|not a time to wait"):
        cli.verb_parser("wait").parse_args(["x-1", f"--timeout={text}"])
