"""How the final cards of each enterprise are rendered now: the ledger asks in its transactions, a reload changes it."""

import logging
from collections.abc import Mapping, Sequence

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call
from vochi_agent.customers.model import Customer, History
from vochi_agent.ports import CardDraft, Renderer

__all__ = ["Rendering", "no_cards"]

log = logging.getLogger(__name__)


class Rendering:
    """The renderers of all enterprises. One with a bug costs its cards, never a call.

    A call may have waited on disk while its enterprise left the configuration: it is stored without cards.
    """

    def __init__(self, renderers: Mapping[str, Renderer]) -> None:
        """`renderers` by enterprise number."""
        self._renderers = renderers

    def use(self, renderers: Mapping[str, Renderer]) -> None:
        """Render by these from here on."""
        self._renderers = renderers

    def of(self, enterprise_number: str) -> Renderer:
        """What renders the calls of an enterprise, by what is in use when it is asked."""

        def render(
            call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
        ) -> Sequence[CardDraft]:
            wanted = self._renderers.get(enterprise_number, no_cards)
            try:
                return wanted(call, customer, before, call_back=call_back)
            except Exception:
                # Raised on, it would stop every later call behind this one.
                log.exception("A call's cards cannot be rendered", extra={"action": "card_bug"})
                return ()

        return render


def no_cards(
    call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
) -> Sequence[CardDraft]:
    """Renders nothing."""
    del call, customer, before, call_back
    return ()
