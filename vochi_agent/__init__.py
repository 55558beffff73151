"""vochi-agent: a companion daemon for Asterisk."""

__version__ = "0.1.0"
