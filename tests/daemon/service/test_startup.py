"""The steps of a start run in order, and a failed one is repeated."""

import pytest

from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service.startup import Startup, Step
from rekindle.state.errors import LedgerTooNew


def test_a_step_that_fails_is_repeated_and_holds_up_those_behind_it() -> None:
    done: list[str] = []
    full = [True]

    def second() -> None:
        if full[0]:
            raise OSError("full")
        done.append("second")

    isolation = Isolation("part", "failed")
    startup = Startup(
        (
            Step("first", lambda: done.append("first")),
            Step("second", second),
            Step("third", lambda: done.append("third")),
        ),
        isolation,
    )
    startup.tick(0.0)
    assert (done, isolation.troubled, startup.done) == (["first"], ("second",), False)
    full[0] = False
    startup.tick(1.0)
    assert (done, isolation.troubled) == (["first", "second", "third"], ())
    assert startup.done
    assert not startup.is_due(2.0)


def test_a_ledger_that_no_later_tick_can_read_ends_the_service() -> None:
    def refuse() -> None:
        raise LedgerTooNew("It is of a newer version.", hint="Update.")

    isolation = Isolation("part", "failed")
    startup = Startup((Step("first", refuse),), isolation)
    with pytest.raises(LedgerTooNew):
        isolation.run(startup.name, lambda: startup.tick(0.0), startup.fatal)
