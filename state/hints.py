"""Complete hints, so that their commands can be copied: with the job, and with the home."""

import re
import shlex
from typing import Final

_OPEN: Final = re.compile(
    r"`rekindle (cancel|export|extend|fork|logs|release|retry|show|stop|wait)(?: JOB)?(?=`| --)"
)
_COMMAND: Final = re.compile(r"`((?:sudo )?rekindle) (?=[a-z])")


def name_home(text: str, home: object | None) -> str:
    """Insert ``--home`` into each command of ``text`` if the verb was given one.

    Without it a copied command would look into another home.
    """
    if home is None:
        return text
    place = shlex.quote(str(home))
    return _COMMAND.sub(lambda found: f"`{found[1]} --home {place} ", text)


def name_job(hint: str, job: str) -> str:
    """Insert the id ``job`` into each command of ``hint`` that does not name a job."""
    return _OPEN.sub(rf"`rekindle \1 {job}", hint)
