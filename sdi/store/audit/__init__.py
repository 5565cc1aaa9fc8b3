"""The audit trail: the chain in the database, the files of what is not in it yet, and its proof."""
