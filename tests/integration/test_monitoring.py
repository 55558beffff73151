"""The alert rules and the dashboard under Prometheus' own tools: they load as they are, alerts stand when they should.

Every name in them is a metric of the registry, every label one that the metric has.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.metric_tables import documented
from tests.support.required import require

MONITORING = Path(__file__).parents[2] / "monitoring"
ALERTS, DASHBOARD = MONITORING / "alerts.yml", MONITORING / "grafana.json"
HOST = 'job="any",instance="pbx:8070"'
OURS = f'{HOST},enterprise="0901"'
UONS = f'{OURS},source="uon"'
GENERAL_LABELS = {"job", "instance", "le"}
HEALTHY = {
    f"up{{{HOST}}}": "1x200",
    f"vochi_store_up{{{HOST}}}": "1x200",
    f"vochi_spool_up{{{HOST}}}": "1x200",
    f"vochi_ami_up{{{OURS}}}": "1x200",
    f"vochi_ami_connects_total{{{OURS}}}": "1x200",
    f"process_start_time_seconds{{{HOST}}}": "1e9x200",
    f"process_resident_memory_bytes{{{HOST}}}": "9e7x200",
    f"vochi_loop_stall_seconds_count{{{HOST}}}": "0+240x200",
    f'vochi_loop_stall_seconds_bucket{{{HOST},le="0.5"}}': "0+240x200",
    f'vochi_crm_lookups_total{{{UONS},outcome="hit"}}': "0+5x200",
    f"vochi_crm_breaker{{{UONS}}}": "0x200",
    f'vochi_outbox_age_seconds{{{OURS},sink="telegram"}}': "0 30 0 20 0x196",
    f"vochi_calls_waiting{{{HOST}}}": "0 3 0 1 0x196",
    f"vochi_calls_dropped_total{{{HOST}}}": "0x200",
    f"vochi_gap_seconds{{{OURS}}}": "0 60 60 0x197",
    f'vochi_recovered_calls_total{{{OURS},outcome="stored"}}': "0x200",
    f'vochi_agi_requests_total{{{HOST},status="ok"}}': "0+5x200",
    f'vochi_agi_requests_total{{{HOST},status="timeout"}}': "0x200",
    f"vochi_agi_seconds_count{{{HOST}}}": "0+5x200",
    f'vochi_agi_seconds_bucket{{{HOST},le="1.5"}}': "0+5x200",
    f'vochi_event_lag_seconds_bucket{{{OURS},le="1.0"}}': "0+90x200",
    f'vochi_event_lag_seconds_bucket{{{OURS},le="2.5"}}': "0+90x200",
    f'vochi_event_lag_seconds_bucket{{{OURS},le="+Inf"}}': "0+90x200",
}
# What else is seen in two hours, a sample a minute, and which alerts stand at their end.
SICK: Mapping[str, tuple[Mapping[str, str], Sequence[str]]] = {
    "nothing is wrong": ({}, []),
    "the daemon is gone": (
        {f"up{{{HOST}}}": "1x100 0x100", f"vochi_store_up{{{HOST}}}": "1x100 stale"},
        ["VochiAgentDown"],
    ),
    "it restarts": ({f"process_start_time_seconds{{{HOST}}}": "1e9x95 1e9+60x105"}, ["VochiAgentRestarts"]),
    "it stands still": ({f'vochi_loop_stall_seconds_bucket{{{HOST},le="0.5"}}': "0+230x200"}, ["VochiLoopStalls"]),
    "it grows": ({f"process_resident_memory_bytes{{{HOST}}}": "9e7+2e7x200"}, ["VochiMemoryGrows"]),
    "the PBX is away": ({f"vochi_ami_up{{{OURS}}}": "1x110 0x90"}, ["VochiAmiDown"]),
    "the PBX comes and goes": ({f"vochi_ami_connects_total{{{OURS}}}": "1x100 1+1x100"}, ["VochiAmiFlaps"]),
    "events are late": ({f'vochi_event_lag_seconds_bucket{{{OURS},le="1.0"}}': "0+20x200"}, ["VochiEventLag"]),
    "a gap stays": ({f"vochi_gap_seconds{{{OURS}}}": "0x80 600x120"}, ["VochiGapStays"]),
    "calls come from CEL alone": (
        {f'vochi_recovered_calls_total{{{OURS},outcome="stored"}}': "0x100 2x100"},
        ["VochiCallsRecoveredWithoutNeed"],
    ),
    "calls come from CEL after a reconnect": (
        {
            f'vochi_recovered_calls_total{{{OURS},outcome="stored"}}': "0x100 2x100",
            f"vochi_ami_connects_total{{{OURS}}}": "1x100 2x100",
        },
        [],
    ),
    "a third of the names is late": (
        {f'vochi_agi_requests_total{{{HOST},status="timeout"}}': "0+3x200"},
        ["VochiNamesTimeOut"],
    ),
    "one caller at night is not named in time": (
        {
            f'vochi_agi_requests_total{{{HOST},status="ok"}}': "7x200",
            f'vochi_agi_requests_total{{{HOST},status="timeout"}}': "0x115 1x85",
        },
        [],
    ),
    "answers miss their deadline": (
        {f'vochi_agi_seconds_bucket{{{HOST},le="1.5"}}': "0+4x200"},
        ["VochiFastAgiSlow"],
    ),
    "PostgreSQL is away": (
        {f"vochi_store_up{{{HOST}}}": "1x100 0x100", f"vochi_calls_waiting{{{HOST}}}": "0x100 0+5x100"},
        ["VochiDatabaseDown", "VochiCallsWait"],
    ),
    "the disk is full too": (
        {f"vochi_spool_up{{{HOST}}}": "1x110 0x90", f"vochi_calls_waiting{{{HOST}}}": "0x110 5x90"},
        ["VochiSpoolBroken"],
    ),
    "calls are dropped": ({f"vochi_calls_dropped_total{{{HOST}}}": "0x100 0+2x100"}, ["VochiCallsDropped"]),
    "a CRM refuses the key": ({f"vochi_crm_breaker{{{UONS}}}": "0x100 2x100"}, ["VochiCrmBreakerOpen"]),
    "a CRM was away and nobody has called since": (
        {f"vochi_crm_breaker{{{UONS}}}": "0x60 2x140", f'vochi_crm_lookups_total{{{UONS},outcome="hit"}}': "7x200"},
        [],
    ),
    "Telegram takes nothing": (
        {f'vochi_outbox_age_seconds{{{OURS},sink="telegram"}}': "0x80 0+60x120"},
        ["VochiOutboxOld"],
    ),
    "a CRM refuses calls": ({f"vochi_crm_parked{{{UONS}}}": "0x100 2x100"}, ["VochiCallsParked"]),
    "a change is given up": (
        {f'vochi_crm_changes_total{{{UONS},outcome="given_up"}}': "0x100 1x100"},
        ["VochiChangesGivenUp"],
    ),
    "webhooks are not understood": (
        {f'vochi_webhooks_total{{{UONS},status="422"}}': "0x100 0+1x100"},
        ["VochiWebhooksNotUnderstood"],
    ),
    "clicks ring nowhere": (
        {f'vochi_crm_clicks_total{{{UONS},result="failed"}}': "0x100 0+1x100"},
        ["VochiClicksFail"],
    ),
    "the bot is thrown out, seen once": (
        {f'vochi_cards_total{{{OURS},result="closed"}}': "_x100 1x100"},
        ["VochiTelegramClosed"],
    ),
    "a rush goes on": ({f"vochi_chats_rushing{{{OURS}}}": "0x80 1x120"}, ["VochiTelegramRush"]),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    return str(require("prometheus").program("promtool"))


def said(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_alert_rules_load_without_an_edit(promtool: str) -> None:
    assert re.search(r"SUCCESS: \d\d rules found", said(promtool, "check", "rules", ALERTS))


def test_alerts_stand_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    cases = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in (HEALTHY | seen).items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "2h",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
                }
            ],
        }
        for name, (seen, alerts) in SICK.items()
    ]
    # YAML is a superset of JSON.
    file = tmp_path / "cases.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}))

    said(promtool, "test", "rules", file)


def test_every_alert_has_a_case() -> None:
    named = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))

    assert named == {alert for _, alerts in SICK.values() for alert in alerts}


# ---------------------------------------------------------------- the dashboard


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that show something."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Everything that is asked of Prometheus, with Grafana's variables filled in."""
    asked = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    asked += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    return [expr.replace("$__rate_interval", "5m").replace("$enterprise", ".*") for expr in asked]


def test_prometheus_understands_every_expression_of_the_dashboard(
    promtool: str, dashboard: dict[str, Any], tmp_path: Path
) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions(dashboard))]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"SUCCESS: {len(rules)} rules found" in said(promtool, "check", "rules", file)
    assert not [expr for expr in expressions(dashboard) if "$" in expr]


def test_the_dashboard_belongs_to_no_data_source_and_its_panels_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    sources = [each["datasource"] for each in [*panels(dashboard), *dashboard["annotations"]["list"]]]
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    cells = [
        (panel["gridPos"]["x"] + right, panel["gridPos"]["y"] + down)
        for panel in dashboard["panels"]
        for right in range(panel["gridPos"]["w"])
        for down in range(panel["gridPos"]["h"])
    ]

    assert sources == [chosen] * len(sources)
    assert variables["datasource"]["type"] == "datasource"
    assert variables["enterprise"]["datasource"] == chosen
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["description"] for panel in panels(dashboard))


# ---------------------------------------------------------------- names


def series(expressions: str) -> set[tuple[str, frozenset[str]]]:
    """Metrics with the labels asked of them; histograms by their own name."""
    found = re.findall(r"\b((?:vochi|process)_[a-z_]+)(?:\{([^}]*)\})?", expressions)
    return {(_family(name), frozenset(re.findall(r"(\w+)=", labels))) for name, labels in found}


def _family(name: str) -> str:
    base = re.sub(r"_(bucket|count|sum)$", "", name)
    return base if base in documented() else name


def test_rules_and_dashboard_ask_for_metrics_and_labels_that_exist(dashboard: dict[str, Any]) -> None:
    rows = documented()
    shown, alerted = series("\n".join(expressions(dashboard))), series(ALERTS.read_text(encoding="utf-8"))
    wrong = {
        (name, labels)
        for name, labels in shown | alerted
        if name not in rows or labels - set(rows[name].labels) - GENERAL_LABELS
    }

    assert len(shown) > 25
    assert len(alerted) > 20
    assert wrong == set()


def test_rules_and_dashboard_group_by_labels_that_exist(dashboard: dict[str, Any]) -> None:
    """A misspelt label in `by` silently makes one series of many."""
    every = {label for row in documented().values() for label in row.labels} | GENERAL_LABELS
    text = "\n".join(expressions(dashboard)) + ALERTS.read_text(encoding="utf-8")
    grouped = {label for labels in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", text) for label in labels.split(", ")}

    assert {"enterprise", "le", "instance"} <= grouped
    assert grouped <= every


def test_words_that_rules_and_dashboard_compare_labels_with_are_said_by_the_program(dashboard: dict[str, Any]) -> None:
    rows = documented()
    text = "\n".join(expressions(dashboard)) + ALERTS.read_text(encoding="utf-8")
    asked = {
        (_family(name), label, word)
        for name, labels in re.findall(r"\b(vochi_[a-z_]+)\{([^}]*)\}", text)
        for label, words in re.findall(r'(\w+)=~?"([^"]*)"', labels)
        for word in words.split("|")
        if label not in GENERAL_LABELS | {"enterprise"}
    }

    assert asked
    assert {each for each in asked if each[2] not in rows[each[0]].labels[each[1]]} == set()
