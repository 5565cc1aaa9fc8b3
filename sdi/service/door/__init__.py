"""Who stands at the door: what they show, whom that tells, and how a key in an address stays in it."""
