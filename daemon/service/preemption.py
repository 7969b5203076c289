"""Watch for a notice that this host will be preempted: save all, start nothing until it is lifted.

Sources, as configured in `rekindle.toml`: a file that appears, SIGUSR2 to the daemon, and the
metadata services of AWS and GCE. A thread polls the services, since they may not respond.
"""

import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import structlog

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.config import Preemption
from rekindle.daemon.service.part import Part
from rekindle.state.ledger.ledger import Ledger

SIGNALLED_S: Final = 900.0
"""A host that still runs this long after SIGUSR2 was not preempted."""
_ANSWER_S: Final = 2.0
_END_S: Final = 1.0
_MAX_BYTES: Final = 4096


class Notices:
    """Find whether a notice is in force, and its source.

    Args:
        wake: set when a service's answer changes, so that the loop reacts at once.
    """

    def __init__(self, config: Preemption, wake: threading.Event) -> None:
        self._config = config
        self._wake = wake
        self._signalled: float | None = None
        self._remote: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._silent: set[str] = set()
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Start polling the metadata services, if any is configured."""
        if self._config.aws or self._config.gce:
            self._thread = threading.Thread(target=self._poll, name="preemption", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            # it may be waiting for a service that does not respond; it ends with the process
            self._thread.join(_END_S)

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
        return next(iter(self._remote.values()), None)

    def _poll(self) -> None:
        while not self._ended.is_set():
            for name, base, ask in (("aws", self._config.aws, aws), ("gce", self._config.gce, gce)):
                if base is None:
                    continue
                try:
                    noticed = ask(base)
                    self._silent.discard(name)
                except (OSError, ValueError) as error:
                    # the last answer stays in force: no response is no all-clear
                    if name not in self._silent:
                        self._silent.add(name)
                        self._log.warning("metadata_service_silent", service=name, error=str(error))
                    continue
                before = dict(self._remote)
                if noticed:
                    self._remote = {**before, name: f"the metadata service of {name.upper()}"}
                else:
                    self._remote = {k: v for k, v in before.items() if k != name}
                if self._remote != before:
                    self._wake.set()
            self._ended.wait(self._config.poll)


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
        OSError: the service does not respond.
    """
    token = _get(
        f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, method="PUT"
    )
    answer = _get(
        f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token or ""}
    )
    return answer is not None


def gce(base: str) -> bool:
    """Return whether Google Compute Engine preempts this instance (``instance/preempted``).

    Raises:
        OSError: the service does not respond.
    """
    answer = _get(f"{base}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return (answer or "").strip().upper() == "TRUE"


def _get(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """Get a URL, None for 404; without a proxy, which would answer for another host."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310
    try:
        with opener.open(request, timeout=_ANSWER_S) as answer:
            return str(answer.read(_MAX_BYTES).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
