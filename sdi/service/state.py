"""What one application holds for one agency; `service_of` finds it: the public's, or that of who showed a key."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.requests import Request

from sdi.access import Agency
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.service.cursors import Cursors
from sdi.service.lanes import HELD, Lane
from sdi.service.page import Matched, Page, begins
from sdi.service.parameters import Question
from sdi.service.publications import Publications, Snapshot
from sdi.service.reader import Reader
from sdi.settings import Settings
from sdi.store import forms
from sdi.store.forms import Form

COUNTED = 50_000
"""Matches that are counted at most: a count that nobody reads to its end is not worth a search of the whole layer."""
WITHIN = 0.25
"""Seconds that counting may take."""


@dataclass(frozen=True)
class Service:
    settings: Settings
    agency: Agency
    reader: Reader
    publications: Publications

    @property
    def registry(self) -> Registry:
        """The contracts as they are now."""
        return self.publications.registry

    @property
    def url(self) -> str:
        """The public address, without a slash at its end."""
        return self.settings.url.rstrip("/")

    async def cursors(self) -> Cursors:
        """What seals and opens cursors; the key is looked up once."""
        if self.reader.cursors is None:
            self.reader.cursors = Cursors(await self.reader.cursor_key())
        return self.reader.cursors

    async def foreseen(self, snapshot: Snapshot, layer: Layer, question: Question) -> Question:
        """The question, and whether few match: a map asks for 10,000 features of a box that holds a hundred, and they
        are not worth a stream.
        """
        if question.lane is not Lane.LONG:
            return question
        of_few = replace(question, few=True)
        if question.filtered:
            count = await self.reader.count(layer, question.query, of_few.lane, at_most=HELD, within=WITHIN)
        else:
            count = snapshot.publications[layer.id].count
        return of_few if count is not None and count <= HELD else question

    async def held(
        self, snapshot: Snapshot, layer: Layer, question: Question, form: Form
    ) -> tuple[Question, Page | None]:  # fmt: skip
        """The question with what is foreseen of it, and its page; None: it is too long to be held.

        Where texts are at hand, whether few match is not counted: they are taken, at most as many as are held.
        """
        if question.lane is Lane.LONG and question.filtered and form is forms.geojson:
            of_few = replace(question, few=True)
            page = await self.reader.few(layer, replace(question.query, limit=HELD), of_few.lane)
            if page is not None:
                return (question, None) if page.more else (of_few, page)
        question = await self.foreseen(snapshot, layer, question)
        return question, None if question.lane is Lane.LONG else await self.page(layer, question, form)

    async def page(
        self, layer: Layer, question: Question, form: Form = forms.geojson, between: str = ",\n"
    ) -> Page:  # fmt: skip
        """A page, held whole, its features in a form and joined by `between`.

        What an index finds is counted with it, in one go; what may take long is not.
        """
        lane = question.lane
        cheap = lane is Lane.QUICK and question.filtered
        return await self.reader.page(layer, question.query, lane, COUNTED if cheap else None, form, between)

    async def matched(self, snapshot: Snapshot, layer: Layer, question: Question, page: Page) -> Matched:
        """How many features a question matches, and never later than that is worth.

        The publication knows it where nothing was asked for, and the page where it is the last one. Else it is counted,
        up to COUNTED features and for at most WITHIN seconds.
        """
        if not question.filtered:
            return Matched(snapshot.publications[layer.id].count)
        seen = begins(question, page) + page.returned + page.more
        first = question.query.place is None and (page.returned > 0 or question.passed == 0)
        if first and not page.more:
            return Matched(seen)
        lane = question.lane
        if lane is Lane.LONG:
            return Matched(seen, exact=False)
        count = page.matched
        if count is None:
            count = await self.reader.count(layer, question.query, lane, at_most=COUNTED, within=WITHIN)
        if count is None:
            return Matched(seen, exact=False, settled=False)
        return Matched(count) if count <= COUNTED else Matched(max(seen, count), exact=False)


def service_of(request: Request) -> Service:
    # Not by `request.state`: where there is nothing in it, asking costs an exception.
    service: Service = request.scope.get("state", {}).get("service") or request.app.state.service
    return service
