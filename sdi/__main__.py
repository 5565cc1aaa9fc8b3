"""`python -m sdi`."""

from sdi.cli import main

main()
