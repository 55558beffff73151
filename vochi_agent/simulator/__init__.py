"""The far ends, played: a PBX, a CRM and Telegram as real servers on loopback."""
