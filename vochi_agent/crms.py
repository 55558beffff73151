"""The CRMs of an enterprise, composed: who is asked, what they tell by themselves, where their webhooks come in."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from vochi_agent.change_ports import ChangeStore, Click, ClickRegistry
from vochi_agent.changes import Changes
from vochi_agent.clicks import Clicks, Placing
from vochi_agent.config import Enterprise
from vochi_agent.crm import CRMS, CrmFactory, State, clicks_of, feed_of, webhook_of
from vochi_agent.enrichment import CrmOfEnterprise, OnProfile
from vochi_agent.metrics import Metrics
from vochi_agent.registered_calls import NoteCall, RegisteredCalls
from vochi_agent.web.webhooks import Receiver

__all__ = ["changes_of", "clicks_in", "clicks_in_chats", "crms_of", "receivers_of"]

BREAKER_LEVEL: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
# Of the requests that a CRM allows, changes may take this share: callers' names have the rest.
CHANGES_SHARE: Final = 0.25

log = logging.getLogger(__name__)


def crms_of(
    enterprise: Enterprise,
    session: aiohttp.ClientSession,
    metrics: Metrics,
    crms: Mapping[str, CrmFactory] = CRMS,
    *,
    state_dir: Path,
) -> list[CrmOfEnterprise]:
    """The CRMs of an enterprise that we speak with; nothing is connected yet."""
    found = []
    for name, table in enterprise.crm.items():
        factory = crms.get(name)
        if factory is None:
            log.warning("%s of %s is configured but not spoken yet", name, enterprise.number, extra={"action": "crm"})
            continue
        source = factory(
            table,
            enterprise_number=enterprise.number,
            country=enterprise.country,
            session=session,
            clock=time.monotonic,
            on_state=partial(_show_breaker, metrics, enterprise.number, name),
            state_dir=state_dir,
        )
        found.append(CrmOfEnterprise(source=source, primary=name == enterprise.primary_source, wait_s=table.timeout_s))
    return found


def changes_of(
    enterprises: Iterable[Enterprise],
    crms: Mapping[str, Sequence[CrmOfEnterprise]],
    store: ChangeStore,
    *,
    on_profile: OnProfile,
    forget: Callable[[str, str], None],
    clicks: Iterable[Clicks],
    ours: Callable[[str], bool],
    ready: asyncio.Event,
    metrics: Metrics,
) -> list[Changes]:
    """What takes in the changes of each CRM; see `changes.Changes`.

    Args:
        crms: Of each enterprise, by its number.
        clicks: What takes the clicks that a CRM's history tells of.
        ours: Whether this daemon writes an enterprise's calls.
    """
    clicked = _takers(clicks)
    return [
        Changes(
            each.number,
            crm.source,
            feed_of(crm.source, each.crm[crm.source.name]),
            store,
            primary=crm.primary,
            on_profile=on_profile,
            forget=forget,
            click=clicked[each.number, crm.source.name],
            asks_per_s=each.crm[crm.source.name].rps * CHANGES_SHARE,
            ours=partial(ours, each.number),
            ready=ready,
            clock=lambda: datetime.fromtimestamp(time.time(), UTC),
            metrics=metrics,
        )
        for each in enterprises
        for crm in crms[each.number]
    ]


def clicks_in(
    enterprises: Iterable[Enterprise],
    crms: Mapping[str, Sequence[CrmOfEnterprise]],
    place: Mapping[str, Placing],
    *,
    note: NoteCall,
    ours: Callable[[str], bool],
    metrics: Metrics,
) -> list[Clicks]:
    """What takes clicks on phone numbers, for each CRM.

    Args:
        crms: Of each enterprise, by its number.
        place: What places a call of an enterprise.
        note: Keeps the id of a call that a CRM has registered by itself.
        ours: Whether this daemon writes an enterprise's calls.
    """
    return [
        Clicks(
            each.number,
            crm.source.name,
            agents=each.crm[crm.source.name].agents,
            country=each.country,
            prefixes=each.click_prefixes,
            place=place[each.number],
            registered=RegisteredCalls(each.number, crm.source, note=note, ours=partial(ours, each.number))
            if isinstance(crm.source, ClickRegistry)
            else None,
            clock=time.monotonic,
            metrics=metrics,
        )
        for each in enterprises
        for crm in crms[each.number]
    ]


def clicks_in_chats(
    enterprises: Iterable[Enterprise], place: Mapping[str, Placing], *, metrics: Metrics
) -> dict[str, Clicks]:
    """What takes presses of «Перезвонить», for each enterprise whose PBX can be asked to call."""
    return {
        each.number: Clicks(
            each.number,
            "telegram",
            agents={},
            country=each.country,
            prefixes=each.click_prefixes,
            place=place[each.number],
            clock=time.monotonic,
            metrics=metrics,
        )
        for each in enterprises
        if each.asterisk.ari
    }


def receivers_of(
    enterprises: Iterable[Enterprise], changes: Iterable[Changes], clicks: Iterable[Clicks]
) -> dict[tuple[str, str], Receiver]:
    """Where webhooks come in: only for CRMs that have a secret and whose messages we read."""
    by_number = {each.number: each for each in enterprises}
    clicked = _takers(clicks)
    found = {}
    for each in changes:
        enterprise = by_number[each.enterprise_number]
        key, table = (enterprise.number, each.source), enterprise.crm[each.source]
        secret, read = table.webhook_secret.get_secret_value(), webhook_of(table, country=enterprise.country)
        read_click = clicks_of(table)
        if secret and (read or read_click):
            found[key] = Receiver(secret=secret, read=read, take=each.take, read_click=read_click, click=clicked[key])
    return found


def _takers(clicks: Iterable[Clicks]) -> dict[tuple[str, str], Callable[[Click], None]]:
    return {(each.enterprise_number, each.source): each.take for each in clicks}


def _show_breaker(metrics: Metrics, enterprise_number: str, crm: str, state: State) -> None:
    metrics.crm_breaker.labels(enterprise_number, crm).set(BREAKER_LEVEL[state])
