"""Who was sent away: wrong keys (401) and what the limits refuse (429), one entry for each caller and minute.

Whoever tries keys, or asks too much, must not fill the trail: what comes in a minute is counted, and told at its end. A
process that is killed loses what it refused in the last minute, and of what it answered what the
recorder tells of.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request

from sdi.errors import StoreError
from sdi.service.audit.reads import write
from sdi.service.audit.recorder import Recorder
from sdi.store.audit.chain import now

EVERY = 60.0
"""Seconds that are told in one entry."""
MOST = 1000
"""Callers that are told apart in a minute; of more only the number of their requests is."""
_LONGEST = 200

log = structlog.get_logger("sdi.service")


@dataclass
class _Refused:
    about: dict[str, object]
    at: str = field(default_factory=now)
    until: str = ""
    count: int = 0


class Refusals:
    """What one worker refused and has not recorded yet."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept: OrderedDict[tuple[int, str], _Refused] = OrderedDict()
        self.every = EVERY

    def tell(self, request: Request, status: int, claimed: str | None = None) -> None:
        """Of a request that is answered with this status. `claimed`: the agency whose name came with a wrong key."""
        if not self._recorder.on:
            return
        state = request.scope.get("state") or {}
        known = state.get("service") if status != 401 else None
        agency = None if known is None or known.agency.public else known.agency.id
        key = (status, agency or str(state.get("address")))
        if key not in self._kept and len(self._kept) >= MOST:
            key = (status, "")
        found = self._kept.get(key)
        if found is None:
            told = {"agency": agency, "member": state.get("member"), "key": state.get("key_id"),
                    "claimed": claimed, "client": state.get("address"), "method": request.method,
                    "path": request.url.path[:_LONGEST]} if key[1] else {"others": True}  # fmt: skip
            about = {"status": status, **{name: value for name, value in told.items() if value is not None}}
            found = self._kept[key] = _Refused(about)
        found.count += 1
        found.until = now()

    def record(self) -> None:
        """Bring what was counted into the trail; what cannot be recorded now is counted on."""
        while self._kept:
            key, found = self._kept.popitem(last=False)
            told = {"at": found.at, "kind": "refused", "action": "refused", "layers": [], "until": found.until,
                    "count": found.count, **found.about}  # fmt: skip
            try:
                self._recorder.add(write(told).replace("\\u0000", "\\ufffd").encode("utf-8", "replace"))
            except StoreError:
                self._kept[key] = found
                log.warning("refusals wait", callers=len(self._kept))
                return

    async def keep_recording(self) -> None:
        """For as long as this runs."""
        while True:
            await asyncio.sleep(self.every)
            self.record()
