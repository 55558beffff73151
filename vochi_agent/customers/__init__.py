"""Who a number belongs to. Pure."""
