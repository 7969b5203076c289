"""A script ends under the daemon as by hand: the same exit code, the same output."""

import subprocess
import sys
from pathlib import Path

import pytest
from lives import Lives
from rig import environment

CLOSED = """
import os, sys
sys.{stream} = open("own.log", "w")
print("training ...", file=sys.{stream})
sys.{stream}.close()
"""
# a stream whose flush fails at the end, like a pipe without a reader
BROKEN = """
import io, sys
class Broken(io.StringIO):
    def flush(self): raise OSError(32, "Broken pipe")
sys.{stream} = Broken()
{after}
"""

SCRIPTS = {
    # CompOmics/ms2rescore#190, keras-team/keras#2110: no standard output
    "none_stdout": "import sys\nprint('x')\nsys.stdout = None\n",
    "none_stderr": "import sys\nsys.stderr = None\n",
    "none_both": "import sys\nsys.stdout = sys.stderr = None\n",
    "none_and_fails": "import sys\nsys.stdout = sys.stderr = None\nraise ValueError('x')\n",
    "none_and_message": "import sys\nsys.stderr = None\nsys.exit('no data today')\n",
    "closed_stdout": CLOSED.format(stream="stdout"),
    "closed_stderr": CLOSED.format(stream="stderr"),
    "closed_own": "import sys\nsys.stdout.close()\n",
    "closed_both": "import sys\nsys.stdout.close(); sys.stderr.close()\n",
    "closed_and_fails": CLOSED.format(stream="stderr") + "raise ValueError('x')\n",
    "closed_and_exits": CLOSED.format(stream="stdout") + "sys.exit(3)\n",
    "closed_and_message": CLOSED.format(stream="stderr") + "sys.exit('no data today')\n",
    "closed_descriptor": "import os, sys\nprint('x' * 100)\nos.close(1)\n",
    "closed_descriptors": "import os\nos.closerange(0, 3)\n",
    "replaced_stdout": "import io, sys\nsys.stdout = io.StringIO()\nprint('lost?')\n",
    "replaced_by_object": "import sys\nsys.stdout = object()\n",
    "replaced_without_closed": (
        "import sys\nclass Tee:\n    def write(self, s): return len(s)\n"
        "    def flush(self): pass\nsys.stdout = sys.stderr = Tee()\n"
    ),
    "redirected": (
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    print('x')\n"
    ),
    "broken_stdout": BROKEN.format(stream="stdout", after=""),
    "broken_stderr": BROKEN.format(stream="stderr", after=""),
    "broken_and_exits": BROKEN.format(stream="stdout", after="sys.exit(3)"),
    "broken_and_fails": BROKEN.format(stream="stdout", after="1 / 0"),
    # apache/airflow#36986: every way to call sys.exit
    "exit_none": "import sys\nsys.exit()\n",
    "exit_3": "import sys\nsys.exit(3)\n",
    "exit_75": "import sys\nsys.exit(75)\n",
    "exit_78": "import sys\nsys.exit(78)\n",
    "exit_256": "import sys\nsys.exit(256)\n",
    "exit_300": "import sys\nsys.exit(300)\n",
    "exit_minus": "import sys\nsys.exit(-1)\n",
    "exit_huge": "import sys\nsys.exit(2**40)\n",
    "exit_huger": "import sys\nsys.exit(2**70)\n",
    "exit_true": "import sys\nsys.exit(True)\n",
    "exit_false": "import sys\nsys.exit(False)\n",
    "exit_message": "import sys\nsys.exit('no data today')\n",
    "exit_empty": "import sys\nsys.exit('')\n",
    "exit_float": "import sys\nsys.exit(0.0)\n",
    "exit_numpy": "import sys, numpy\nsys.exit(numpy.int64(3))\n",
    "exit_tuple": "import sys\nsys.exit((1, 2))\n",
    "exit_unprintable": (
        "import sys\nclass Odd:\n    def __str__(self): raise ValueError\nsys.exit(Odd())\n"
    ),
    "os_exit_0": "import os\nos._exit(0)\n",
    "os_exit_75": "import os\nos._exit(75)\n",
    "atexit_exits": "import atexit, os\natexit.register(lambda: os._exit(3))\n",
    "atexit_fails": "import atexit\natexit.register(lambda: 1 / 0)\n",
    "thread": "import threading, time\nthreading.Thread(target=lambda: time.sleep(1)).start()\n",
    "thread_fails": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()\n",
    "fails": "1 / 0\n",
    "fails_oddly": ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd\n"),
    "base_exception": "class Own(BaseException): pass\nraise Own('own')\n",
    "group": "raise ExceptionGroup('several', [ValueError('a')])\n",
    "own_hook": (
        "import sys\nsys.excepthook = lambda *a: print('the hook was called')\nraise ValueError\n"
    ),
    "own_hook_fails": "import sys\nsys.excepthook = lambda *a: 1 / 0\nraise ValueError\n",
    "syntax": 'print("a"\n',
    "late_future": "import sys\nfrom __future__ import annotations\n",
    "future": (
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass C:\n    y: typing.Optional['C'] = None\n"
        "print(typing.get_type_hints(C))\n"
    ),
    "no_coding": b"print('x\xff')\n",
    "latin": b"# -*- coding: latin-1 -*-\nprint('gr\xfc\xdfe')\n",
    "bom_crlf": b"\xef\xbb\xbfprint('bom')\r\nprint('crlf')\r\n",
    "bytes_out": "import sys\nsys.stdout.buffer.write(b'caf\\xe9 \\xff\\x00')\nprint('end')\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "default_term": (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)\n"
    ),
    "ignored_term": (
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    ),
    "own_term": (
        "import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda s, f: sys.exit(5))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    ),
    "restored_term": (
        "import os, signal, time\nold = signal.signal(signal.SIGTERM, print)\n"
        "assert signal.getsignal(signal.SIGTERM) is print\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nsignal.signal(signal.SIGTERM, old)\n"
        "assert signal.getsignal(signal.SIGTERM) is old\n"
    ),
    "term_in_child": (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda s, f: os._exit(7))\n"
        "child = os.fork()\nif not child:\n    time.sleep(10); os._exit(1)\n"
        "time.sleep(.2); os.kill(child, signal.SIGTERM)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    ),
    "stdin": "input()\n",
    "arguments": (
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--epochs', required=True)\np.parse_args()\n"
    ),
    "segfault": "import ctypes\nctypes.string_at(8)\n",
    # ray-project/ray#40358
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
}


# one of each kind; all together take 40 s
QUICK = {
    "none_stdout",
    "none_and_fails",
    "closed_stdout",
    "closed_and_exits",
    "closed_descriptor",
    "replaced_stdout",
    "broken_stdout",
    "broken_and_exits",
    "exit_75",
    "exit_256",
    "exit_numpy",
    "exit_message",
    "os_exit_0",
    "atexit_exits",
    "own_hook",
    "interrupt",
    "own_term",
    "term_in_child",
}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS],
)
def test_a_script_has_the_exit_code_that_it_has_by_hand(name: str, tmp_path: Path) -> None:
    """Plain Python is the reference for each way to end."""
    script = tmp_path / f"{name}.py"
    text = SCRIPTS[name]
    script.write_bytes(text if isinstance(text, bytes) else text.encode())
    by_hand = tmp_path / "by_hand"
    by_hand.mkdir()
    env = {**environment(), "PYTHONUNBUFFERED": "1"}
    with (by_hand / "log").open("wb") as log:
        plain = subprocess.run(
            [sys.executable, script],
            cwd=by_hand,
            env=env,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ).returncode
    lives = Lives(tmp_path, script, cold=True)
    try:
        lives.start()
        ended = lives.wait(60)
    finally:
        lives.close()
    status = ended["exit_code"] if ended["signal"] is None else -ended["signal"]
    assert status == plain, (lives.log(), (by_hand / "log").read_text(errors="replace"))
    said = b"the hook was called"
    assert (said in lives.run.log(1).read_bytes()) == (said in (by_hand / "log").read_bytes())


def test_what_rekindle_says_reaches_the_log_and_no_file_of_the_script(tmp_path: Path) -> None:
    """Also if the script has closed standard output and one of its files has the same number."""
    script = tmp_path / "train.py"
    script.write_text(
        "import os, sys\nfrom rekindle.jobs.attempt.session import Session\n"
        "sys.stdout = None\nSession.current.warn('first', 'word')\n"
        "os.close(1)\nmine = os.open('own.txt', os.O_WRONLY | os.O_CREAT)\nassert mine == 1\n"
        "Session.current.warn('second', 'word')\n"
        "os.closerange(3, 200)\n"
        "files = [os.open(f'{n}.txt', os.O_WRONLY | os.O_CREAT) for n in range(150)]\n"
        "Session.current.warn('third', 'word')\n"
    )
    lives = Lives(tmp_path, script, cold=True)
    try:
        lives.start()
        assert lives.wait(60)["exit_code"] == 0, lives.log()
    finally:
        lives.close()
    assert "first" in lives.log()
    assert "second" in lives.log()
    assert "third" not in lives.log()
    written = [file for file in lives.work.glob("*.txt") if file.stat().st_size]
    assert written == []
    assert [e["message"] for e in lives.entries("warned")] == ["first", "second", "third"]
