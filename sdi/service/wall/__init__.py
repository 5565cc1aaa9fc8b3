"""What stands between the service and whoever means it ill: limits, rates, turns, and headers for browsers."""
