"""A steward's file becomes features that keep the contract; no database, and GDAL only in a child process."""
