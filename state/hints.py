"""Complete hints, so that their commands can be copied: a verb about a job names the job."""

import re
from typing import Final

_OPEN: Final = re.compile(
    r"`rekindle (cancel|export|logs|release|retry|show|stop|wait)(?: JOB)?(?=`| --)"
)


def name_job(hint: str, job: str) -> str:
    """Insert the id ``job`` into each command of ``hint`` that does not name a job."""
    return _OPEN.sub(rf"`rekindle \1 {job}", hint)
