"""What every folder of tests shares."""

import pytest
from hypothesis import settings

from tests.support.required import missing

# How long an example takes is the machine's affair; what measures time does so by itself.
settings.register_profile("whatever the machine", deadline=None)
settings.load_profile("whatever the machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of long tests the longest come first: one that began last would keep all processors but one idle."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return float(mark.args[0]) if mark is not None else 0.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, where nobody overlooks it, what nothing was tested against."""
    for name, reason in missing.items():
        terminalreporter.write_sep("!", f"nothing was tested against {name}", red=True)
        terminalreporter.write_line(reason)
