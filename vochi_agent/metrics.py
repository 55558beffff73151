"""The numbers the agent shows to Prometheus. One object, made in the composition root and handed down.

Invariant: labels are bounded by the configuration and by enums; a phone number or a call id never is one. What each
metric means to an operator, and every value of every label, stands in docs/metrics.md.
"""

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

__all__ = ["TELEGRAM", "Metrics"]

# The sink of cards, beside the names of CRMs.
TELEGRAM: Final = "telegram"

# Seconds; FastAGI has 1.5 s for everything and a CRM request 10 s.
FAST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
CRM_BUCKETS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 4.0, 10.0)
# What an event takes from the PBX to us, and what the event loop is late: nothing, mostly.
LAG_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A quiet chat is told at once; in a rush finals may wait for one another.
CARD_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 1.0, 5.0, 15.0, 30.0, 60.0, 90.0, 600.0)


class Metrics:
    """Every metric, each an attribute; `registry` is what `/metrics` prints.

    Attributes:
        ami_up: 1 while logged in.
        ami_connects: Logins; the first one and one a reconnect.
        ami_events: Events received.
        event_lag_seconds: From the PBX's own stamp on an event to its arrival here, by the PBX's clock.
        loop_stall_seconds: How late a timer of the event loop woke: everything waits so long.
        calls_live: Calls being followed now.
        calls: Finished calls stored, by direction, status and reason.
        agi_requests: FastAGI answers by VOCHI_STATUS.
        agi_seconds: From the end of the request's header to our last command.
        late_names: Names that a CRM gave after the dialplan had gone on: shown on a ringing telephone, or too late.
        store_up: 1 while PostgreSQL answers.
        store_failures: Transactions that found PostgreSQL away.
        store_seconds: A transaction that stores finished calls.
        calls_waiting: Finished calls not stored yet, in memory or on disk.
        calls_dropped: Finished calls that nothing had room for; recovery has to find them.
        spool_calls: Those of `calls_waiting` that wait on disk.
        spool_bytes: What the spool takes on disk.
        spool_up: 1 while the disk takes what should wait there.
        gap_seconds: Time of which nobody knows whether all its calls are stored.
        recovered_calls: Calls found in CEL or CDR: stored, corrected, known already.
        crm_lookups: Requests by outcome (`enrichment.Outcome`); `timeout` counts askers who left before the answer.
        crm_seconds: A lookup until the CRM's last answer, retries included, by what it was.
        crm_breaker: 0 closed, 1 half open, 2 open.
        outbox_age_seconds: How long the oldest thing waits that a CRM's list or Telegram's chats should hold already.
        crm_companies: Companies of callers whose contacts were asked for, by outcome (`contacts.Fetched`).
        crm_unsaved: Profiles that wait for the database.
        crm_waiting: Finished calls that a CRM does not list yet.
        crm_parked: Those that a CRM refused, until a person has looked.
        crm_posts: Finished calls brought to CRMs, by result: sent, failed, parked.
        crm_popups: Popups by result: shown, failed, stale.
        crm_clicks: Clicks on phone numbers in CRMs and chats (source telegram), by result: placed, refused, failed.
        webhooks: Webhooks of CRMs and Telegram by the status of our answer; strangers at the door have no labels.
        crm_changes: What became of changes that CRMs told of (`changes.Outcome`).
        crm_changes_waiting: Those that are kept and not in `customers` yet.
        crm_phones_skipped: Phones of webhooks that are no phones.
        retired: Rows that were deleted for their age, by kind (`retention.Kind`).
        cards_waiting: Cards that chats do not show yet, of those that are due.
        telegram_budget_left: Requests that a chat may still be sent this minute.
        cards: Requests to Telegram about cards, by result.
        card_seconds: From a text in the table to Telegram's word that the chat shows it.
        bot_messages: What people wrote to the bot, by result: answered, stranger, ignored, failed.
        bot_presses: Buttons that people pressed, by button (why, call, take, other) and result: done, late (somebody
            was quicker), refused, stranger, failed.
        chats_rushing: Chats in which a board stands for single cards.
        tasks: Tasks of the event loop now, looked up when asked; as many in a quiet hour as after a busy one.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        enterprise = ("enterprise",)
        self.ami_up = self._gauge("ami_up", "1 while logged in to the AMI", *enterprise)
        self.ami_connects = self._counter("ami_connects", "Logins to the AMI", *enterprise)
        self.ami_events = self._counter("ami_events", "AMI events received", *enterprise)
        self.event_lag_seconds = self._histogram(
            "event_lag_seconds", "From the PBX's stamp on an event to its arrival", LAG_BUCKETS, *enterprise
        )
        self.loop_stall_seconds = self._histogram("loop_stall_seconds", "How late the event loop woke", LAG_BUCKETS)
        self.calls_live = self._gauge("calls_live", "Calls being followed now", *enterprise)
        self.calls = self._counter("calls", "Finished calls stored", *enterprise, "direction", "status", "reason")
        self.agi_requests = self._counter("agi_requests", "FastAGI requests answered", "status")
        self.agi_seconds = self._histogram("agi_seconds", "Time to answer a FastAGI request", FAST_BUCKETS)
        self.late_names = self._counter("late_names", "Names that came after the answer", *enterprise, "result")
        self.store_up = self._gauge("store_up", "1 while PostgreSQL answers")
        self.store_failures = self._counter("store_failures", "Transactions that found PostgreSQL away")
        self.store_seconds = self._histogram("store_seconds", "Time to store calls that ended together", FAST_BUCKETS)
        self.calls_waiting = self._gauge("calls_waiting", "Finished calls not stored yet")
        self.calls_dropped = self._counter("calls_dropped", "Finished calls left to recovery")
        self.spool_calls = self._gauge("spool_calls", "Finished calls that wait on disk for PostgreSQL")
        self.spool_bytes = self._gauge("spool_bytes", "Bytes of the spool on disk")
        self.spool_up = self._gauge("spool_up", "1 while the spool can be written")
        self.gap_seconds = self._gauge("gap_seconds", "Time that was not watched and is not recovered", *enterprise)
        self.recovered_calls = self._counter("recovered_calls", "Calls found in CEL or CDR", *enterprise, "outcome")
        self.crm_lookups = self._counter("crm_lookups", "Lookups of a number", *enterprise, "source", "outcome")
        self.crm_seconds = self._histogram(
            "crm_seconds", "Time a lookup of a number took", CRM_BUCKETS, "source", "outcome"
        )
        self.crm_breaker = self._gauge(
            "crm_breaker", "Circuit breaker: 0 closed, 1 half open, 2 open", *enterprise, "source"
        )
        self.crm_companies = self._counter("crm_companies", "Companies fetched", *enterprise, "source", "outcome")
        self.crm_unsaved = self._gauge("crm_unsaved", "Profiles that wait for the database", *enterprise, "source")
        self.crm_waiting = self._gauge("crm_waiting", "Calls that a CRM does not list yet", *enterprise, "source")
        self.crm_parked = self._gauge("crm_parked", "Calls that a CRM refused", *enterprise, "source")
        self.outbox_age_seconds = self._gauge(
            "outbox_age_seconds", "How long the oldest open work of a sink waits", *enterprise, "sink"
        )
        self.crm_posts = self._counter("crm_posts", "Finished calls brought to CRMs", *enterprise, "source", "result")
        self.crm_popups = self._counter("crm_popups", "Popups on CRM screens", *enterprise, "source", "result")
        self.crm_clicks = self._counter("crm_clicks", "Clicks on phone numbers", *enterprise, "source", "result")
        self.webhooks = self._counter("webhooks", "Webhooks answered", *enterprise, "source", "status")
        self.crm_changes = self._counter("crm_changes", "Changes told by a CRM", *enterprise, "source", "outcome")
        self.crm_changes_waiting = self._gauge(
            "crm_changes_waiting", "Changes told by a CRM that wait", *enterprise, "source"
        )
        self.crm_phones_skipped = self._counter(
            "crm_phones_skipped", "Phones of webhooks that are no phones", *enterprise, "source"
        )
        self.retired = self._counter("retired_rows", "Rows deleted for their age", *enterprise, "kind")
        self.cards_waiting = self._gauge("cards_waiting", "Cards that chats do not show yet", *enterprise)
        self.telegram_budget_left = self._gauge(
            "telegram_budget_left", "Requests that a chat may still be sent this minute", *enterprise, "chat"
        )
        self.cards = self._counter("cards", "Requests to Telegram about cards", *enterprise, "result")
        self.card_seconds = self._histogram("card_seconds", "Time until a chat shows a card", CARD_BUCKETS)
        self.bot_messages = self._counter("bot_messages", "Messages of people to the bot", "result")
        self.bot_presses = self._counter("bot_presses", "Buttons pressed below cards", "button", "result")
        self.chats_rushing = self._gauge("chats_rushing", "Chats with a board for single cards", *enterprise)
        self.tasks = self._gauge("tasks", "Tasks of the event loop")
        self.tasks.set_function(_tasks)

    def render(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, namespace="vochi", registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace="vochi", registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, namespace="vochi", registry=self.registry, buckets=buckets)


def _tasks() -> float:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0  # asked where no loop runs
