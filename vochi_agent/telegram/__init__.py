"""Telegram: what chats read about calls, and how it gets there."""
