"""What we say about a layer; pure functions of its contract."""
