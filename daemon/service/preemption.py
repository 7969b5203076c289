"""Watch for a notice that this host will be preempted: save all, start nothing until it is lifted.

Sources, as configured in `rekindle.toml`: a file that appears, SIGUSR2 to the daemon, and the
metadata services of AWS and GCE. A thread polls the services, since they may not respond.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.background import Repeated
from rekindle.daemon.config import Preemption
from rekindle.daemon.service.part import Part
from rekindle.state.ledger.ledger import Ledger

SIGNALLED_S: Final = 900.0
"""A host that still runs this long after SIGUSR2 was not preempted."""
_ANSWER_S: Final = 2.0
"""Time for the whole of an answer, however slowly its bytes come."""
_MAX_BYTES: Final = 4096
_ACTIONS: Final = frozenset({"terminate", "stop", "hibernate"})


class MetadataPoller:
    """Poll one metadata service in a thread of its own.

    Args:
        ask: asks the service at a base URL; returns whether it gives notice.
        changed: called in the thread when the answer has changed.

    Attributes:
        thread: the thread, for reports.
        noticed: the last answer. It stays in force while the service does not answer: no response
            is no all-clear.
    """

    def __init__(
        self,
        name: str,
        base: str,
        ask: Callable[[str], bool],
        *,
        poll: float,
        changed: Callable[[], None],
    ) -> None:
        self.source = f"the metadata service of {name.upper()}"
        self.thread = Repeated(f"preemption notices of {name.upper()}", self._turn, pause=poll)
        self.noticed = False
        self._base = base
        self._ask = ask
        self._poll = poll
        self._changed = changed

    def _turn(self) -> float:
        noticed = self._ask(self._base)
        if noticed != self.noticed:
            self.noticed = noticed
            self._changed()
        return self._poll


class Notices:
    """Find whether a notice is in force, and its source.

    Args:
        wake: set when a service's answer changes, so that the loop reacts at once.
    """

    def __init__(self, config: Preemption, wake: threading.Event) -> None:
        self._config = config
        self._signalled: float | None = None
        self._pollers = [
            MetadataPoller(name, base, ask, poll=config.poll, changed=wake.set)
            for name, base, ask in (("aws", config.aws, aws), ("gce", config.gce, gce))
            if base is not None
        ]

    @property
    def threads(self) -> list[Repeated]:
        """The threads that poll the configured services."""
        return [poller.thread for poller in self._pollers]

    def start(self) -> None:
        """Start polling the metadata services, if any is configured."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        for thread in self.threads:
            thread.stop()

    def signal(self) -> None:
        """Record SIGUSR2; safe in a signal handler."""
        self._signalled = time.monotonic()

    def in_force(self) -> str | None:
        """Name the source of the notice in force, or None."""
        file = self._config.notice_file
        if file is not None and Path(file).exists():
            return f"the file {file}"
        if self._signalled is not None and time.monotonic() - self._signalled < SIGNALLED_S:
            return "SIGUSR2"
        return next((one.source for one in self._pollers if one.noticed), None)


class PreemptionWatch(Part):
    """Make all attempts save while a notice is in force."""

    name = "preemption"

    def __init__(self, notices: Notices, attempts: Attempts, ledger: Ledger) -> None:
        self._notices = notices
        self._attempts = attempts
        self._ledger = ledger
        self._source: str | None = None
        self._log = structlog.get_logger()

    @property
    def in_force(self) -> bool:
        """Return whether a notice is in force: nothing is started then."""
        return self._source is not None

    def tick(self, now: float) -> None:
        source = self._notices.in_force()
        if source == self._source:
            return
        was, self._source = self._source, source
        self._attempts.set_preempted(source is not None)
        if was is None or source is None:
            kind = "preemption_noticed" if source else "preemption_lifted"
            self._log.warning(kind, source=source or was)
            self._ledger.add_event(kind, data={"source": source or was})


def aws(base: str) -> bool:
    """Return whether AWS will stop or end this instance (IMDSv2, ``spot/instance-action``).

    Raises:
        OSError, ValueError, HTTPException: the service does not respond, or not as AWS does.
    """
    # a token for each question: an expired one (401) is never used again
    token = _get(
        f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT"
    )
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("no token of a metadata service")
    answer = _get(
        f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}
    )
    if answer is None:
        return False
    # a web page of something else at this address is no notice
    notice = json.loads(answer)
    if not isinstance(notice, dict) or notice.get("action") not in _ACTIONS:
        raise ValueError(f"not a notice: {answer[:80]}")
    return True


def gce(base: str) -> bool:
    """Return whether Google Compute Engine preempts this instance (``instance/preempted``).

    Raises:
        OSError, ValueError, HTTPException: the service does not respond, or not as Google does.
    """
    answer = _get(f"{base}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    said = "FALSE" if answer is None else answer.upper()
    if said not in ("TRUE", "FALSE"):
        raise ValueError(f"neither TRUE nor FALSE: {said[:80]}")
    return said == "TRUE"


def _get(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """Get a URL within a few seconds, None for 404.

    Without a proxy, which would answer for another host, and without following a redirection.
    """
    parts = urlsplit(url)
    connection = _Bounded(parts.hostname or "", parts.port or 80, timeout=_ANSWER_S)
    try:
        connection.request(method, parts.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_BYTES)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise OSError(f"HTTP status {answer.status}")
        return body.decode("utf-8", "replace").strip()
    finally:
        connection.close()


class _Bounded(http.client.HTTPConnection):
    """Bound the time of a whole answer; the timeout alone bounds the wait for each byte."""

    def __init__(self, host: str, port: int, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._ended = threading.Event()

    def connect(self) -> None:
        super().connect()
        threading.Thread(target=self._limit, args=(self.sock,), daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _limit(self, sock: socket.socket) -> None:
        if not self._ended.wait(_ANSWER_S):
            # the read in progress then ends; a socket that is closed by now has no descriptor
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
