"""What several test folders share: the laboratory of real programs and stand-in servers."""
