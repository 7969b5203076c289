"""Names of users are looked up without waiting for a directory service."""

import pwd
import threading
import time

from rekindle.state import accounts
from rekindle.state.accounts import Names


class Directory:
    """A directory service that answers when it is let."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[int] = []

    def look(self, uid: int) -> str:
        self.asked.append(uid)
        self.answers.wait(60)
        return f"user{uid}"


def test_the_host_s_own_accounts_have_names() -> None:
    assert accounts.user_name(0) == pwd.getpwuid(0).pw_name
    assert accounts.user_name(4_000_000_123) == "4000000123"


def test_a_directory_service_that_does_not_answer_is_waited_for_once() -> None:
    directory = Directory()
    names = Names(directory.look)
    try:
        assert [names.name(7, wait=0.01), names.name(7, wait=60), names.name(7, wait=60)] == [
            "7"
        ] * 3
        assert directory.asked == [7]
        # another user is not delayed by the first
        assert names.name(8, wait=0.01) == "8"
    finally:
        directory.answers.set()
    end = time.monotonic() + 30
    while names.name(7) == "7" and time.monotonic() < end:
        time.sleep(0.01)
    assert names.name(7) == "user7"
    assert directory.asked == [7, 8]


def test_an_unknown_user_is_looked_up_again() -> None:
    """An account may be added while the daemon runs."""
    known: dict[int, str] = {}
    names = Names(known.__getitem__)
    assert names.name(9) == "9"
    known[9] = "ana"
    assert names.name(9) == "ana"
