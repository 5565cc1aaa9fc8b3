"""Parts of a delivery that are worked on abreast, a few at once, and come out in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

THREADS = min(4, 1 + (os.cpu_count() or 1))
"""Parts that are worked on at once: one more than there are cores, for half of the work holds the interpreter."""


def in_order[Given](tasks: Iterable[Callable[[], Given]]) -> Iterator[Given]:
    """Run tasks in threads and yield what they give in their order; no more are begun than can be held."""
    waiting: deque[Future[Given]] = deque()
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
