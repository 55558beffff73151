"""Renderers for calls that nobody is told about."""

from vochi_agent.cards import CardDraft

__all__ = ["no_cards"]


def no_cards(*_: object, **__: object) -> list[CardDraft]:
    """See `ports.Renderer`."""
    return []
