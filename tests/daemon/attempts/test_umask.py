"""The umask of a job is that of its spec, else that of `rekindle.toml`, else the daemon's."""

import json
from pathlib import Path

import pytest
from rig import Rig

from rekindle.daemon.spec import parse
from rekindle.state.errors import SpecError


@pytest.mark.slow
def test_files_of_a_job_get_the_mode_that_its_umask_leaves(rig: Rig, tmp_path: Path) -> None:
    """Also the folders; the daemon's own files are not concerned."""
    (rig.home.root / "rekindle.toml").write_text('umask = "027"\nslots = 2\n')
    script = 'command = ["sh", "-c", "mkdir {0} && : > {0}/file"]\nname = "{0}"\n'
    where = f"workdir = {json.dumps(str(tmp_path))}\n"
    rig.drop(where + script.format("host"), "host.toml")
    rig.drop(where + script.format("own") + 'umask = "002"\n', "own.toml")
    assert rig.start("--until-idle").wait(60) == 0
    modes = {
        name: [
            oct(path.stat().st_mode & 0o777) for path in (tmp_path / name, tmp_path / name / "file")
        ]
        for name in ("host", "own")
    }
    assert modes == {"host": ["0o750", "0o640"], "own": ["0o775", "0o664"]}
    assert rig.show("own-1")["spec"]["umask"] == 2


@pytest.mark.parametrize("value", ["2", '"2"', '"0o2"', '"008"', "true", '"7777"'])
def test_a_umask_is_three_octal_digits_in_quotes(value: str) -> None:
    """Decimal 22 for octal 022 would open files to everybody."""
    text = f'command = ["true"]\nworkdir = "/tmp"\numask = {value}\n'
    with pytest.raises(SpecError, match="octal digits"):
        parse.parse(text.encode(), "a.toml", Path("/tmp"))
