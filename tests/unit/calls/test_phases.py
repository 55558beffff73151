"""The picture of the phases is the table of the phases."""

import re
from pathlib import Path

from vochi_agent.calls.model import Phase
from vochi_agent.calls.phases import TRANSITIONS

DOC = Path(__file__).parents[3] / "docs" / "calls.md"


def drawn():
    edges = [
        f"    {source.value if source else '[*]'} --> {target.value}"
        for source, targets in TRANSITIONS.items()
        for target in Phase
        if target in targets
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *edges, "```"])


def test_the_diagram_in_the_docs_is_drawn_from_the_table():
    """A stale picture lies."""
    picture = re.search(r"<!-- states:begin -->\n(.*?)\n<!-- states:end -->", DOC.read_text(), re.DOTALL)

    assert picture
    assert picture[1] == drawn()


def test_no_phase_leads_back():
    """Phases only grow; dial and bridge may repeat with other agents."""
    order = list(Phase)
    for source, targets in TRANSITIONS.items():
        if source is not None:
            assert all(order.index(target) >= order.index(source) for target in targets)
