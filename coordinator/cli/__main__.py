"""`python -m coordinator.cli`: the same as `moonfleet`."""

import sys

from coordinator.cli.main import main

sys.exit(main())
