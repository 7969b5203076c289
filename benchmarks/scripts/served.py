"""A daemon over a home, for benchmarks."""

import signal
import subprocess
import sys
import time
from pathlib import Path


class Daemon:
    def __init__(self, home):
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), "run"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(home.daemon_status.exists, "the daemon starts")

    @property
    def rss(self):
        """MB, and of it what is this process' own."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        of = {
            line.split(":")[0]: int(line.split()[1]) / 1024
            for line in text.splitlines()[1:]
            if line.split()[-1] == "kB"
        }
        return of["Rss"], of["Private_Clean"] + of["Private_Dirty"]

    @property
    def cpu(self):
        """Seconds of processor time so far, all threads."""
        # finer than the clock ticks of stat: nanoseconds on the processor, of each thread
        return sum(
            int((task / "schedstat").read_text().split()[0]) / 1e9
            for task in Path(f"/proc/{self.process.pid}/task").iterdir()
        )

    def idle(self, seconds):
        """Percent of a core over so many seconds."""
        before, begun = self.cpu, time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu - before) / (time.monotonic() - begun)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def until(probe, what, seconds=30.0, every=0.001):
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(every)
    return found
