"""Run the command ``rekindle`` as ``python -m rekindle.daemon``."""

import sys

from rekindle.daemon.client.cli import main

sys.exit(main())
