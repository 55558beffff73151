"""What a call is and how it is judged. Pure: no socket, no clock, no log."""
