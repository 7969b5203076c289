"""A failure in one part is logged once and ends no other part."""

import pytest
import structlog

from rekindle.daemon.isolation import Isolation, LogOnce


def fail(text: str) -> None:
    raise OSError(text)


def test_a_failure_is_logged_once_until_it_is_another_or_over() -> None:
    with structlog.testing.capture_logs() as logs:
        isolation = Isolation("part", "failed", "recovered")
        for text in ("full", "full", "gone"):
            assert isolation.run("disk", lambda text=text: fail(text)) is None
        assert isolation.troubled == ("disk",)
        assert isolation.run("disk", lambda: 7) == 7
        isolation.run("disk", lambda: fail("gone"))
    assert [(line["event"], line["part"], line.get("error")) for line in logs] == [
        ("failed", "disk", "OSError: full"),
        ("failed", "disk", "OSError: gone"),
        ("recovered", "disk", None),
        ("failed", "disk", "OSError: gone"),
    ]


def test_what_is_fatal_is_raised_and_is_no_trouble() -> None:
    isolation = Isolation("part", "failed")
    with pytest.raises(OSError, match="full"):
        isolation.run("disk", lambda: fail("full"), (OSError,))
    assert isolation.troubled == ()


def test_a_message_is_logged_once_a_subject() -> None:
    with structlog.testing.capture_logs() as logs:
        once = LogOnce("trouble")
        for subject, message in (("a", "1"), ("a", "1"), ("b", "1"), ("a", "2")):
            once.error(subject, message)
        once.clear("a")
        once.error("a", "2")
    assert [line["message"] for line in logs] == ["1", "1", "2", "2"]
