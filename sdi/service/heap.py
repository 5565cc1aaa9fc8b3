"""How the allocator of a worker process (glibc's) goes about memory that was freed.

By itself it gives the end of the heap back to the system as soon as some hundred kilobytes are free there, and asks for
it again with the next page of 1,000 features (640 kB, held twice): 200 to 450 page faults each time, 0.5 to 1 ms where
the whole page costs 1.2. Whether it came to that hung on how things happened to lie in the process: the one page that
all ask for was mostly spared, ten in turn were not.
"""

from __future__ import annotations

import ctypes

KEPT = 8 * 2**20
"""Bytes free at the end of the heap that are not given back: some pages under way at a time."""
APART = 4 * 2**20
"""Bytes from which on something is mapped by itself, and given back as soon as it is freed."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed() -> None:
    """Set both; where there is no such allocator nothing is done."""
    # One alone would be no help: by itself the allocator moves both, and either ends that.
    for parameter, value in ((_M_TRIM_THRESHOLD, KEPT), (_M_MMAP_THRESHOLD, APART)):
        try:
            ctypes.CDLL(None).mallopt(parameter, value)
        except AttributeError:
            return
