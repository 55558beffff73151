"""What every folder of tests shares."""

import pytest

from tests.support.required import missing


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, where nobody overlooks it, what nothing was tested against."""
    for name, reason in missing.items():
        terminalreporter.write_sep("!", f"nothing was tested against {name}", red=True)
        terminalreporter.write_line(reason)
