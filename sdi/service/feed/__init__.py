"""What changed in a layer: pages from a cursor on, a stream for who waits, webhooks for who is to be called."""
