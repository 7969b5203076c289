"""A metadata service may answer anything: its poller lives on and believes only real answers.

Kinds of source: pollers of spot instances that died on http.client.BadStatusLine or a captive
portal's web page, and IMDS clients that kept an expired token.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from rig import Rig, wait_for

from rekindle.daemon.background import Background, Repeated
from rekindle.daemon.config import Preemption
from rekindle.daemon.service import preemption
from rekindle.daemon.service.preemption import Notices

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
PAGE = b"<html>Please log in</html>"
ODD = {
    "no HTTP": b"hello I am no http\r\n\r\n",
    "nothing": b"",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x16",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nTRUE",
    "a long header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "a web page": OK % (len(PAGE), PAGE),
    "deep JSON": OK % (4000, b"[" * 4000),
    "not text": OK % (4, b"\xff\xfe\x00\x80"),
    "status 401": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "status 500": b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nTRUE",
}
LATE = ("silent", "trickle", "endless")


class Service:
    """Answer on a loopback port as a metadata service, or in an odd ``mode``."""

    def __init__(self) -> None:
        self.mode = "well"
        self.noticed = False
        self.asked: list[str] = []
        self.tokens = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for one in self._open:
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        mode = self.mode
        try:
            asked = client.recv(65536)
            self.asked.append(mode)
            if mode == "silent":
                return  # and the connection stays open
            if mode == "trickle":
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nTRUE" + b" " * 10_000:
                    client.sendall(bytes([byte]))
                    time.sleep(0.05)
            elif mode == "endless":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    client.sendall(b"x" * 100)
                    time.sleep(0.01)
            elif mode == "expired" and not asked.startswith(b"PUT"):
                client.sendall(ODD["status 401"])
            elif mode in ODD:
                client.sendall(ODD[mode])
            elif mode.startswith("http://"):
                client.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % mode.encode())
            else:
                client.sendall(self._well(asked))
            client.close()
        except OSError:
            client.close()

    def _well(self, asked: bytes) -> bytes:
        if asked.startswith(b"PUT"):
            self.tokens += 1
            token = b"token-%d" % self.tokens
            return OK % (len(token), token)
        if b"spot/instance-action" in asked:
            notice = b'{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'
            missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            return OK % (len(notice), notice) if self.noticed else missing
        said = b"TRUE" if self.noticed else b"FALSE"
        return OK % (len(said), said)


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.close()


def notices_of(name: str, service: Service) -> Notices:
    base = {"aws": None, "gce": None, name: service.base}
    return Notices(Preemption(notice_file=None, poll=0.02, **base), threading.Event())


# one service is enough for the quick tier: each answer has a time limit to wait for
@pytest.mark.parametrize("name", ["aws", pytest.param("gce", marks=pytest.mark.slow)])
def test_no_answer_ends_the_poller_or_is_taken_for_a_notice(
    name: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each odd answer it asks again, and believes the next real one."""
    monkeypatch.setattr(preemption, "_ANSWER_S", 0.2)
    elsewhere = Service()
    elsewhere.noticed = True
    notices = notices_of(name, service)
    notices.start()
    try:
        (thread,) = notices.threads
        odd = [*ODD, *LATE, elsewhere.base, *(["expired"] if name == "aws" else [])]
        for mode in odd:
            service.mode = mode
            service.asked.clear()
            wait_for(lambda: len(service.asked) > 2, f"it asks again after: {mode}")
            assert thread.error is not None, mode
            assert notices.in_force() is None, mode
        service.mode, service.noticed = "well", True
        wait_for(notices.in_force, "it believes a real notice")
        for mode in odd:
            service.mode = mode
            service.asked.clear()
            wait_for(lambda: len(service.asked) > 2, f"it asks again after: {mode}")
            assert notices.in_force(), "no answer is no all-clear"
        service.mode, service.noticed = "well", False
        wait_for(lambda: notices.in_force() is None, "it believes a real all-clear")
        assert thread.error is None
        assert not elsewhere.asked
    finally:
        notices.stop()
        elsewhere.close()


def test_a_silent_service_does_not_delay_the_other(service: Service) -> None:
    """Each has a thread of its own."""
    silent = Service()
    silent.mode = "silent"
    service.noticed = True
    notices = Notices(
        Preemption(notice_file=None, poll=0.02, aws=silent.base, gce=service.base),
        threading.Event(),
    )
    notices.start()
    try:
        wait_for(notices.in_force, "the other's notice is seen", 2 * preemption._ANSWER_S)
        assert silent.asked in ([], ["silent"])
    finally:
        notices.stop()
        silent.close()


def test_a_service_that_answers_garbage_is_reported_once(rig: Rig, service: Service) -> None:
    """In log, events and `systemctl status`; it is asked on, and the end is reported, too."""
    service.mode = "no HTTP"
    rig.home.config.write_text(f'[preemption]\ngce = "{service.base}"\npoll = "100ms"\n')
    rig.start()
    wait_for(lambda: len(service.asked) > 3, "it asks again and again")
    wait_for(lambda: "service_in_trouble" in rig.log.read_text(), "it is reported")
    service.mode = "well"
    wait_for(lambda: "service_out_of_trouble" in rig.log.read_text(), "its end is reported")
    assert rig.end(signal.SIGTERM) == 0
    text = rig.log.read_text()
    assert text.count("service_in_trouble") == 1
    assert "preemption notices of GCE" in text
    assert "BadStatusLine" in text


# the common helpers


def test_a_repeated_thread_survives_every_exception() -> None:
    """SystemExit in a thread is silent in Python: here it is kept and the work repeated."""
    turns: list[int] = []
    errors: list[BaseException] = [
        ValueError("a"),
        SystemExit(3),
        KeyboardInterrupt(),
        MemoryError(),
    ]
    seen: list[str] = []

    def work() -> float:
        turns.append(1)
        if thread.error is not None:
            seen.append(type(thread.error).__name__)
        if errors:
            raise errors.pop(0)
        return 0.01

    thread = Repeated("work", work, pause=0.01)
    thread.start()
    wait_for(lambda: len(turns) > 6, "it continues")
    thread.stop()
    assert seen == ["ValueError", "SystemExit", "KeyboardInterrupt", "MemoryError"]
    assert thread.error is None


def test_a_thread_that_could_not_be_started_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the limit of the cgroup's tasks (`TasksMax`) no thread starts for a while."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    turns: list[int] = []
    done = threading.Event()

    def work() -> float:
        turns.append(1)
        done.set()
        return 60.0

    thread, background = Repeated("work", work, pause=0.0), Background()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            thread.start()
        with pytest.raises(RuntimeError):
            thread.ensure()
        with pytest.raises(RuntimeError):
            background.ask("key", os.getpid)
    thread.ensure()
    assert done.wait(30)
    thread.stop()
    wait_for(lambda: background.ask("key", os.getpid), "what was not begun is begun later")


def test_background_work_that_exits_has_an_outcome() -> None:
    """Without one the caller would wait for ever."""
    background = Background()

    def leave() -> None:
        raise SystemExit(3)

    outcome = wait_for(lambda: background.ask("key", leave), "it ends")
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        outcome.get()
