"""The checks of a delivery, one file by what they look at; each takes arrays and marks findings."""
