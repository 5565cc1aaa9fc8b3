"""What changed in a layer since a place in its history, as who asks sees it; and who is told of it by a webhook."""
