"""The metrics: what stands in the registry stands in docs/metrics.md, and nothing a stranger says is a label."""

import re

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.metric_tables import PAGE, documented
from vochi_agent import changes, contacts, enrichment, retention
from vochi_agent.calls.model import Direction, Reason, Status
from vochi_agent.metrics import Metrics

# What the configuration bounds: numbers of enterprises, names of CRMs, and those with Telegram's; ids of chats.
CONFIGURED = {"enterprise", "source", "sink", "chat"}


def shown_name(family: Metric) -> str:
    """As queries and people write it: counters end in `_total`."""
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.fixture
def families() -> dict[str, Metric]:
    return {shown_name(family): family for family in Metrics().registry.collect()}


def label_names(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    """Of every metric of ours, by its name in the documentation."""
    declared = [each for each in vars(metrics).values() if hasattr(each, "labels")]
    return {shown_name(next(iter(each.collect()))): each._labelnames for each in declared}


async def test_the_tasks_of_the_loop_are_counted_when_asked() -> None:
    assert Metrics().registry.get_sample_value("vochi_tasks") == 1


def test_where_no_loop_runs_there_are_no_tasks() -> None:
    assert Metrics().registry.get_sample_value("vochi_tasks") == 0


def test_two_objects_share_nothing() -> None:
    first, second = Metrics(), Metrics()

    first.calls.labels("0901", "in", "missed", "busy").inc()

    labels = {"enterprise": "0901", "direction": "in", "status": "missed", "reason": "busy"}
    assert first.registry.get_sample_value("vochi_calls_total", labels) == 1
    assert second.registry.get_sample_value("vochi_calls_total", labels) is None


def test_every_metric_of_ours_is_named_vochi_and_readable() -> None:
    names = {family.name for family in text_string_to_metric_families(Metrics().render().decode())}

    assert "vochi_ami_up" in names
    assert {name for name in names if not name.startswith(("vochi_", "process_"))} == set()


def test_the_documentation_lists_every_metric_and_no_other(families: dict[str, Metric]) -> None:
    assert set(documented()) == set(families)
    assert all(row.meaning for row in documented().values())


def test_the_documentation_gives_every_metric_its_labels() -> None:
    ours = {name: set(labels) for name, labels in label_names(Metrics()).items()}

    assert {name: set(row.labels) for name, row in documented().items() if name.startswith("vochi_")} == ours


def test_every_label_is_bounded_by_the_configuration_or_by_words_that_are_listed() -> None:
    unbounded = {
        (name, label)
        for name, row in documented().items()
        for label, words in row.labels.items()
        if (label in CONFIGURED) == bool(words)
    }

    assert unbounded == set()


@pytest.mark.parametrize(
    ("metric", "label", "words"),
    [
        ("vochi_calls_total", "direction", Direction),
        ("vochi_calls_total", "status", Status),
        ("vochi_calls_total", "reason", Reason),
        ("vochi_crm_lookups_total", "outcome", enrichment.Outcome),
        ("vochi_crm_seconds", "outcome", enrichment.ANSWERS),
        ("vochi_crm_changes_total", "outcome", changes.Outcome),
        ("vochi_crm_companies_total", "outcome", contacts.Fetched),
        ("vochi_retired_rows_total", "kind", retention.Kind),
    ],
)
def test_the_words_of_a_label_are_those_of_the_program(metric: str, label: str, words: list[str]) -> None:
    assert documented()[metric].labels[label] == {str(word) for word in words}


def test_no_other_page_speaks_of_a_metric_that_does_not_exist(families: dict[str, Metric]) -> None:
    """Wherever a name ends like a metric's or stands in a table of metrics."""
    endings = ("_total", "_seconds", "_waiting", "_parked", "_up", "_bytes", "_rushing")
    spoken = {
        (page.name, name)
        for page in PAGE.parent.rglob("*.md")
        for name in re.findall(r"`(vochi_\w+)", page.read_text(encoding="utf-8"))
        if name.endswith(endings)
    }

    assert len(spoken) > len(families)
    assert {(page, name) for page, name in spoken if name not in families} == set()
