"""What one application holds for one agency; `service_of` finds it: the public's, or that of who showed a key."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from sdi.access import Agency
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.service.parameters import Question
from sdi.service.publications import Publications, Snapshot
from sdi.service.reader import Reader
from sdi.settings import Settings


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

    async def matched(self, snapshot: Snapshot, layer: Layer, question: Question) -> int:
        """The exact number of features that a question matches: the publication's count where nothing was asked for."""
        if not question.filtered:
            return snapshot.publications[layer.id].count
        return await self.reader.count(layer, question.query)


def service_of(request: Request) -> Service:
    service: Service = getattr(request.state, "service", None) or request.app.state.service
    return service
