"""``python -m rekindle.daemon``: the same as the command ``rekindle``."""

import sys

from rekindle.daemon.cli import main

sys.exit(main())
