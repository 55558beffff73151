"""`python -m vochi_agent` is `vochi-agent`."""

import sys

from vochi_agent.cli import main

sys.exit(main())
