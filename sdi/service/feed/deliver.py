"""Telling webhooks that a layer has changed for their agency: that there is news, and where to ask for it.

A call carries no feature: the receiver asks with the agency's key, and gets what the agency may see at that moment. It
is told of what the agency can see alone, so a load that changed nothing of it calls nobody.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from sdi.access import Agency, sees
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.contract.registry import Registry
from sdi.errors import Gone
from sdi.service import links
from sdi.service.cursors import Cursors
from sdi.service.feed import call, place
from sdi.service.feed.offered import are_told
from sdi.service.publications import told_of
from sdi.settings import Settings
from sdi.store import ledger, order, succession, tables
from sdi.store.engine import Connection
from sdi.store.feed import page, rules, turning, webhooks
from sdi.store.feed.page import Mark, Marks, Page, Place, Turn
from sdi.store.feed.walk import Steps
from sdi.store.feed.webhooks import Due
from sdi.store.sharing import register

COUNTED = 1000
"""Changes that are counted at most."""
FIRST, LONGEST = timedelta(seconds=10), timedelta(hours=6)
"""The pause after the first call that failed, and the longest; each is twice the one before, less up to a half."""
GIVE_UP = timedelta(days=5)
"""How long a webhook may fail before it is given up."""
log = structlog.get_logger("sdi.webhooks")


@dataclass(frozen=True)
class Outcome:
    """What became of one webhook. `told`: None: there was nothing to tell; else whether it was taken."""

    webhook_id: int
    told: bool | None
    words: str


def deliver(
    owner: Connection, reader: Connection, registry: Registry, settings: Settings, marks: Marks | None = None
) -> Iterator[Outcome]:  # fmt: skip
    """Look once at every webhook that is due, and call those that have news.

    owner: a connection that may write the register of webhooks. reader: of the stewards' role, to the same database.
    marks: what is remembered from one look to the next.
    """
    marks = marks or Marks()
    allowed = call.Allowed.of(settings.webhook_hosts, plain=settings.webhook_http)
    known = register.read(reader, registry)
    cursors = Cursors(order.key(reader))
    for webhook_id in webhooks.due(owner):
        with webhooks.taken(owner, webhook_id) as found:
            if found is None:
                continue
            agency, layer = known.agency(found.agency), registry.layers.get(found.layer)
            published = ledger.published(reader)
            if layer is None or found.layer not in published or not sees(agency, layer) or not are_told(layer):
                continue  # it does not exist for them: nothing is said of it, not even this
            yield _Call(owner, reader, settings, allowed, cursors, found, agency, layer, marks).made()


@dataclass(frozen=True)
class _Call:
    """What one webhook is told."""

    owner: Connection
    reader: Connection
    settings: Settings
    allowed: call.Allowed
    cursors: Cursors
    hook: Due
    agency: Agency
    layer: Layer
    marks: Marks

    def made(self) -> Outcome:
        view = self._view()
        beside = self._beside(view)
        under = place.rule(self.layer, view, self.cursors, beside)
        if not beside:
            rules.keep(self.reader, self.layer, under, rules.told(self.layer, view))
        mark = self.marks.of(self.layer, under)
        if self.hook.place is None:
            # What was there before is fetched when one likes; calls are for what comes.
            webhooks.settle(self.owner, self.hook.webhook_id, place.content(under, self._newest(view, mark)))
            return Outcome(self.hook.webhook_id, None, "begins")
        news, reached, since = self._news(view, under, self.hook.place, mark)
        if news is not None and not news.entries:
            webhooks.settle(self.owner, self.hook.webhook_id, place.content(under, reached))
            return Outcome(self.hook.webhook_id, None, "nothing new")
        return self._sent(self._body(news, since), place.content(under, reached))

    def _view(self) -> FeatureQuery:
        view = place.view(self.agency, self.layer)
        meant = succession.select_meant(self.layer, view)
        if meant is None:
            return view
        rows = self.reader.execute(meant.sql, meant.params).fetchall()
        return replace(view, meant=tuple((row[0], row[1], row[2]) for row in rows))

    def _beside(self, view: FeatureQuery) -> list[tuple[str, int, str]]:
        """As `Snapshot.beside` has it."""
        published, layers = ledger.published(self.reader), self.layer.others
        names = () if view.sight is None else view.sight.beside
        return [told_of(self.reader, self.agency, layers[name]) for name in names
                if name in published and sees(self.agency, layers[name])]  # fmt: skip

    def _newest(self, view: FeatureQuery, mark: Mark) -> Place:
        with page.moment(self.reader):
            return page.run(self.reader, page.newest(self.layer, view, mark=mark))

    def _news(
        self, view: FeatureQuery, under: str, told: list[Any], mark: Mark
    ) -> tuple[Page | None, Place, str | None]:  # fmt: skip
        """What came behind a place, where all of it ends, and the cursor before it; no page: begin again."""
        readable = tables.readable(self.layer, restricted=True)

        def steps() -> Steps[tuple[Page, Place]]:
            begins = yield from place.kept(self.layer, view, told, under, mark)
            news = yield from turning.follow(self.layer, view, begins, COUNTED, readable, mark)
            reached = news.place
            if news.more or isinstance(reached, Turn):
                reached = yield from page.newest(self.layer, view, mark=mark)
            return news, reached

        try:
            with page.moment(self.reader):
                news, newest = page.run(self.reader, steps())
        except Gone:
            return None, self._newest(view, mark), None
        return news, newest, place.cursor(self.layer, told, self.cursors, self.agency)

    def _body(self, news: Page | None, since: str | None) -> dict[str, Any]:
        parameters = {} if since is None else {"since": since}
        address = links.address(self.settings.url, "collections", self.layer.id, "changes", parameters=parameters)
        data: dict[str, Any] = {"collection": self.layer.id, "agency": self.agency.id, "changes": address}
        if news is None:
            return {"type": "changes.restart", "data": data}
        counted = {"cursor": since, "count": len(news.entries), "more": news.more}
        return {"type": "changes.available", "data": data | counted}

    def _sent(self, told: dict[str, Any], reached: list[Any]) -> Outcome:
        number = self.hook.webhook_id
        # The same news are the same message, however often it is sent; more news are another one.
        about = json.dumps([number, self.hook.place, reached])
        message = "msg_" + hashlib.sha256(about.encode()).hexdigest()[:32]
        now = int(time.time())
        at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
        body = json.dumps({"timestamp": at, **told}, ensure_ascii=False).encode()
        taken, words = call.post(self.allowed, self.hook.url, self.hook.secret, message, now, body)
        if taken:
            webhooks.settle(self.owner, number, reached, words)
        else:
            since = self.hook.failing_since
            give_up = words == "410" or (since is not None and datetime.now(UTC) - since > GIVE_UP)
            webhooks.fail(self.owner, number, words, wait=pause(self.hook.attempts), give_up=give_up)
            if give_up:
                log.error("webhook given up", webhook=number, agency=self.agency.id, layer=self.layer.id, outcome=words)
        return Outcome(number, taken, words)


def pause(attempts: int, chance: Callable[[], float] = random.random) -> timedelta:
    """How long to wait after so many failed calls and one more."""
    longest: timedelta = min(FIRST * 2 ** min(attempts, 30), LONGEST)
    return longest * (0.5 + chance() / 2)
