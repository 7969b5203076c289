"""``python -m rekindle.daemon``: the same as the command ``rekindle``."""

import sys

from rekindle.daemon.client.cli import main

sys.exit(main())
