"""Handlers mirror the verbs that write requests."""

from rekindle.daemon.handlers import dispatcher, home_verbs
from rekindle.daemon.intake import requests


def test_each_verb_that_writes_a_request_has_one_handler() -> None:
    assert not home_verbs.HANDLERS.keys() & dispatcher.OF_JOB.keys()
    known = {*home_verbs.HANDLERS, *dispatcher.OF_JOB}
    assert known == {*requests.VERBS, *requests.QUEUE_VERBS}
