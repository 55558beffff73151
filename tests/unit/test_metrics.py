from prometheus_client.parser import text_string_to_metric_families

from vochi_agent.metrics import Metrics


async def test_the_tasks_of_the_loop_are_counted_when_asked() -> None:
    assert Metrics().registry.get_sample_value("vochi_tasks") == 1


def test_where_no_loop_runs_there_are_no_tasks() -> None:
    assert Metrics().registry.get_sample_value("vochi_tasks") == 0


def test_two_objects_share_nothing() -> None:
    first, second = Metrics(), Metrics()

    first.calls.labels("0901", "in", "missed").inc()

    labels = {"enterprise": "0901", "direction": "in", "status": "missed"}
    assert first.registry.get_sample_value("vochi_calls_total", labels) == 1
    assert second.registry.get_sample_value("vochi_calls_total", labels) is None


def test_every_metric_of_ours_is_named_vochi_and_readable() -> None:
    names = {family.name for family in text_string_to_metric_families(Metrics().render().decode())}

    assert "vochi_ami_up" in names
    assert {name for name in names if not name.startswith(("vochi_", "process_"))} == set()
