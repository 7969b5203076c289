"""Handlers mirror the verbs that write requests."""

from rekindle.daemon.handlers import home_verbs, job_verbs
from rekindle.daemon.intake import requests


def test_each_verb_that_writes_a_request_has_one_handler() -> None:
    assert not home_verbs.HANDLERS.keys() & job_verbs.HANDLERS.keys()
    known = {*home_verbs.HANDLERS, *job_verbs.HANDLERS}
    assert known == {*requests.VERBS, *requests.QUEUE_VERBS}
