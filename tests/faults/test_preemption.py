"""A notice of preemption: all jobs save now, none starts, and they resume when it is lifted."""

import http.server
import signal
import threading
from collections.abc import Iterator

import pytest
from nights import Night, result, steps
from rig import wait_for

pytestmark = pytest.mark.faults


class Metadata(http.server.ThreadingHTTPServer):
    """The metadata services of AWS (IMDSv2) and GCE, as far as preemption goes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.noticed = False
        self.broken = False
        self.asked: set[str] = set()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._say(200, "secret-token") if self.path == "/latest/api/token" else self._say(400, "")

    def do_GET(self) -> None:
        self.server.asked.add(self.path)
        if self.server.broken:
            self._say(503, "")
        elif self.path == "/latest/meta-data/spot/instance-action":
            good = self.headers["X-aws-ec2-metadata-token"] == "secret-token"
            notice = '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'
            self._say(401, "") if not good else (
                self._say(200, notice) if self.server.noticed else self._say(404, "")
            )
        elif self.path == "/computeMetadata/v1/instance/preempted":
            good = self.headers["Metadata-Flavor"] == "Google"
            self._say(200 if good else 403, "TRUE" if self.server.noticed else "FALSE")
        else:
            self._say(404, "")

    def _say(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    server = Metadata()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("source", [pytest.param("file", marks=pytest.mark.promise), "aws", "gce"])
def test_a_notice_saves_and_nothing_starts_until_it_is_lifted(
    night: Night, metadata: Metadata, source: str
) -> None:
    """From any source; no step is repeated, and the job is queued in between."""
    notice = night.work / "preempted"
    base = f"http://127.0.0.1:{metadata.server_port}"
    says = f'notice_file = "{notice}"' if source == "file" else f'{source} = "{base}"'
    night.home.config.write_text(f'[preemption]\n{says}\npoll = "100ms"\n')
    folder = night.submit("job", args="--steps 60 --every 1000")
    night.start()
    night.step("job-1", 5)
    notice.touch()
    metadata.noticed = True
    night.wait_state("job-1", "queued")
    assert night.show("job-1")["attempts"][0]["cause"] == "preempted"
    metadata.broken = True  # silence is no all-clear
    before = len(steps(folder))
    night.submit("late", args="--steps 3")
    wait_for(lambda: "late-1" in night.states(), "it is accepted all the same")
    metadata.asked.clear()
    wait_for(lambda: source == "file" or metadata.asked, "it is asked again")
    assert night.states() == {"job-1": "queued", "late-1": "queued"}
    assert len(steps(folder)) == before

    metadata.broken = metadata.noticed = False
    notice.unlink()
    night.wait_state("job-1", "done")
    assert [step for _, step in steps(folder)] == list(range(60))
    assert (folder / "job.result.txt").read_text() == result(60)


def test_sigusr2_to_the_daemon_is_a_notice(night: Night) -> None:
    """All is saved; the daemon stays, and another one starts again."""
    folder = night.submit("job", args="--steps 60 --every 1000")
    night.start()
    night.step("job-1", 5)
    assert night.daemon is not None
    night.daemon.send_signal(signal.SIGUSR2)
    night.wait_state("job-1", "queued")
    assert night.daemon.poll() is None
    assert night.end() == 0
    night.until_idle()
    assert [step for _, step in steps(folder)] == list(range(60))
