"""What every folder of tests shares."""

import pytest
from hypothesis import settings

from tests.support.required import missing

# How long an example takes is the machine's affair; what measures time does so by itself.
settings.register_profile("whatever the machine", deadline=None)
settings.load_profile("whatever the machine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, where nobody overlooks it, what nothing was tested against."""
    for name, reason in missing.items():
        terminalreporter.write_sep("!", f"nothing was tested against {name}", red=True)
        terminalreporter.write_line(reason)
