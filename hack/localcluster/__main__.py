"""`python3 -m hack.localcluster`."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - it is started by whatever python3 a machine has
    sys.exit("error: Python 3.11 or newer is needed\n  to fix it: make setup")

from hack.localcluster.cli import main

sys.exit(main())
