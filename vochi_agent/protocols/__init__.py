"""Bytes to messages and back, for the daemon and the simulator alike. Pure."""
