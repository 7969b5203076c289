"""`freeze_clock`: the script's own code reads one date in all attempts; nothing else changes."""

import subprocess
import sys
from pathlib import Path

from attempts import Script
from rig import environment

from rekindle.jobs.files import clock

READS = """
import copy, datetime, pickle, sys, time
from datetime import date, datetime as imported

plain = datetime.datetime
from rekindle.jobs.files.clock import Clock
frozen = [True]
Clock(1_000_000_000.25, lambda: frozen[0]).install()
wanted = datetime.datetime.fromtimestamp(1_000_000_000.25)
utc = datetime.timezone.utc

assert datetime.datetime is imported is plain
assert imported.now() == imported.today() == wanted
assert imported.utcnow() == imported.now(utc).replace(tzinfo=None)
assert imported.now(tz=utc).timestamp() == 1_000_000_000.25
assert date.today() == wanted.date() and imported.today().microsecond == 250000
assert time.strftime("%Y-%m-%d %H") == wanted.strftime("%Y-%m-%d %H")
assert time.localtime()[:3] == time.gmtime(None)[:3] == (2001, 9, 9)
assert time.ctime() == time.asctime() == wanted.ctime()
# a given time is that time, and durations work
assert time.strftime("%Y", time.gmtime(0)) == "1970" and time.localtime(0).tm_year < 1971
assert time.time() > 1_500_000_000 and time.perf_counter() != time.perf_counter()
# the class is the same: isinstance, pickle, copies, subclasses
now = imported.now()
assert type(now) is plain and pickle.loads(pickle.dumps(now)) == copy.deepcopy(now) == now
assert pickle.loads(pickle.dumps(imported)) is plain
class Mine(imported): pass
assert type(Mine.now()) is Mine and isinstance(Mine.today(), date)
# in a stage and in libraries: the real time
library = {"time": time, "datetime": datetime}
code = "when = datetime.datetime.now(), time.strftime('%Y')"
exec(compile(code, sys.prefix + "/lib/site-packages/signing.py", "exec"), library)
assert library["when"][0].year > 2001 and library["when"][1] > "2001"
frozen[0] = False
assert min(imported.now().year, imported.utcnow().year, date.today().year) > 2001
assert time.localtime().tm_year > 2001 and time.strftime("%Y") > "2001"
"""


def test_only_the_dates_of_the_script_are_frozen() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", READS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


FOLDERS = """
import os, pathlib, sys, time
from rekindle.jobs.files import clock
os.chdir(sys.argv[1])
now = time.time()
dated, plain = time.strftime("run-%Y%m%d-%H%M%S"), "out"
os.mkdir(dated), os.mkdir(plain), os.mkdir(f"old-{dated}"), open(f"file-{dated}", "w").close()
os.utime(f"old-{dated}", (1, 1))
clock._accept_dated_folders(now)
os.mkdir(dated), os.makedirs(dated), pathlib.Path(dated).mkdir(), os.mkdir("new")
for name in (plain, f"old-{dated}", f"file-{dated}"):
    try:
        os.mkdir(name)
    except FileExistsError:
        continue
    raise AssertionError(name)
"""


def test_a_folder_with_the_frozen_date_may_exist(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", FOLDERS, str(tmp_path)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_time_is_that_of_the_first_attempt_since_the_last_scratch(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    assert clock.first_start(script.run, 1000.5) == 1000.5
    assert clock.first_start(script.run, 2000.0) == 1000.5
    script.run.frozen_clock.write_text("{")
    assert clock.first_start(script.run, 3000.0) == 3000.0
    script.scratch()
    assert clock.first_start(script.run, 10.0**10) == 10.0**10
