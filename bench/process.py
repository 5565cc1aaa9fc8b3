"""What a measured program needs: seconds, the memory of its process tree, and the CPU time of the database server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ran:
    """seconds: from start to end. peak: greatest sum of anonymous memory (RssAnon, MiB) of the program and its
    children, looked at every 0.1 s. server: CPU seconds of the database server meanwhile; None: not ours to look at."""

    seconds: float
    peak: float
    server: float | None
    output: str


def run(command: Sequence[str], postmaster: int | None, environment: Mapping[str, str] | None = None) -> Ran:
    """Run a program to its end. Ends the measurement with what it said when it fails."""
    before = server_cpu(postmaster)
    begun = perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    ) as program:
        peak = [0.0]
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(program.pid, peak, done))
        watch.start()
        output, errors = program.communicate()
        seconds = perf_counter() - begun
        done.set()
        watch.join()
    if program.returncode:
        sys.exit(f"{command[0]} failed:\n{errors[-3000:]}")
    after = server_cpu(postmaster)
    return Ran(seconds, peak[0], None if before is None or after is None else after - before, output)


@contextmanager
def watched(peaks: Mapping[str, Sequence[int]], seconds: float = 0.25) -> Iterator[dict[str, float]]:
    """By name the greatest sum of anonymous memory (MiB) of the trees of these processes while the block runs."""
    found = dict.fromkeys(peaks, 0.0)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds):
            for name, pids in peaks.items():
                trees = {each for pid in pids for each in tree(pid)}
                found[name] = max(found[name], sum(map(_anonymous, trees)) / 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def cpu(pids: Sequence[int]) -> float:
    """CPU seconds of the trees of these processes, as finely as the kernel counts them; of what lives alone."""
    return sum(_spent(each) for pid in pids for each in tree(pid))


def loop_cpu(pid: int) -> float:
    """CPU seconds of a process's first thread, which answers; its other threads work beside."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def _spent(pid: int) -> float:
    try:
        tasks = [(task / "schedstat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(text.split()[0]) for text in tasks) / 1e9
    except OSError:
        return server_cpu(pid) or 0.0  # a kernel that keeps no such file; it counts by the hundredth of a second


def _watch(pid: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.1):
        peak[0] = max(peak[0], sum(map(_anonymous, tree(pid))) / 1024)


def tree(pid: int) -> list[int]:
    """The process and what it started, as far as that still runs."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _anonymous(pid: int) -> int:
    """KiB of a process that are no file's pages."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def server_cpu(postmaster: int | None) -> float | None:
    """CPU seconds of a server, of its processes that live and of those that have ended."""
    if postmaster is None:
        return None
    ticks = 0
    for pid in tree(postmaster):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15] if pid == postmaster else fields[11:13]))
    return ticks / _TICK
