"""`python -m vochi_agent` is `vochi-agent`."""

from vochi_agent.cli import entry

entry()
