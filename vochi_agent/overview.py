"""The daemon's picture of itself: the object `/status` answers and `vochi-agent status` prints.

Invariant: plain JSON values, no secrets, no phone numbers but those of calls that go on now.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from vochi_agent import __version__
from vochi_agent.asterisk.fastagi import FastAgiServer
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.calls.model import isoformat
from vochi_agent.config import Config, Enterprise
from vochi_agent.metrics import Metrics
from vochi_agent.ports import SpoolState
from vochi_agent.web.health import Part, is_ready

__all__ = ["overview"]

BREAKER_STATES: Final = ("closed", "half_open", "open")
MAX_CALLS_SHOWN: Final = 200


def overview(
    config: Config,
    *,
    metrics: Metrics,
    watches: Mapping[str, PbxWatch],
    fastagi: FastAgiServer,
    parts: Callable[[], Mapping[str, Part]],
    spool: Callable[[], SpoolState],
    started_at: float,
) -> Callable[[], Mapping[str, object]]:
    """What gives the picture of each moment.

    Args:
        config: Whose enterprises and CRMs are shown.
        metrics: Where the counts come from.
        watches: By enterprise number.
        fastagi: The door of the dialplan.
        parts: As readiness is read from.
        spool: What waits on disk, and whether the disk takes it.
        started_at: Seconds since the epoch.
    """

    def look() -> Mapping[str, object]:
        now = parts()
        live = itertools.chain.from_iterable(watch.tracker.live() for watch in watches.values())
        return {
            "version": __version__,
            "pid": os.getpid(),
            "instance": config.daemon.instance,
            "started_at": _moment(started_at),
            "ready": is_ready(now),
            "parts": {name: {"up": part.up, "detail": part.detail} for name, part in now.items()},
            "pbx": {number: _pbx(watch) for number, watch in watches.items()},
            "fastagi": {"host": fastagi.host, "port": fastagi.port},
            "calls_live": sum(len(watch.tracker.live_linkedids) for watch in watches.values()),
            "calls": [call.as_json() for call in itertools.islice(live, MAX_CALLS_SHOWN)],
            "calls_waiting": _count(metrics, "vochi_calls_waiting"),
            "spool": {
                "calls": _count(metrics, "vochi_spool_calls"),
                "bytes": _count(metrics, "vochi_spool_bytes"),
                "problem": spool().problem,
            },
            "cards": _cards(metrics),
            "crm": {enterprise.number: _crms(metrics, enterprise) for enterprise in config.enterprises},
        }

    return look


def _pbx(watch: PbxWatch) -> Mapping[str, object]:
    state = watch.ami.state
    return {
        "address": str(watch.ami.peer),
        "connected_since": _moment(state.connected_since),
        "last_event_at": _moment(state.last_event_at),
        "reconnects": state.reconnects,
        "banner": state.banner,
        "clock_offset": None if state.clock_offset is None else round(state.clock_offset, 3),
        "login_refused": state.login_refused,
        "error": state.last_error,
        "calls_live": len(watch.tracker.live_linkedids),
        "channels": watch.tracker.open_channels,
    }


def _crms(metrics: Metrics, enterprise: Enterprise) -> Mapping[str, object]:
    return {
        name: {
            "breaker": BREAKER_STATES[_count(metrics, "vochi_crm_breaker", enterprise=enterprise.number, source=name)],
            "calls_waiting": _count(metrics, "vochi_crm_waiting", enterprise=enterprise.number, source=name),
            "calls_parked": _count(metrics, "vochi_crm_parked", enterprise=enterprise.number, source=name),
            "changes_waiting": _count(metrics, "vochi_crm_changes_waiting", enterprise=enterprise.number, source=name),
            "profiles_waiting": _count(metrics, "vochi_crm_unsaved", enterprise=enterprise.number, source=name),
        }
        for name in enterprise.crm
    }


def _cards(metrics: Metrics) -> Mapping[str, int]:
    """Requests to Telegram about cards since the start, by what came of them."""
    results: dict[str, int] = {}
    for family in metrics.cards.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                result = sample.labels["result"]
                results[result] = results.get(result, 0) + int(sample.value)
    return results


def _count(metrics: Metrics, name: str, **labels: str) -> int:
    """A counter or gauge; 0 before anything was counted under these labels."""
    return int(metrics.registry.get_sample_value(name, labels) or 0)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else isoformat(datetime.fromtimestamp(seconds, UTC))
