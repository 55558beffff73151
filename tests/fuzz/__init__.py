"""What strangers send us, mutated without end: AMI, AGI, webhooks, Telegram, CEL, CDR, configuration."""
