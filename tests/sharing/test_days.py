"""A grant holds from its first day on, until the day on which it ends, by the calendar of Viet Nam."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import ClassVar

import pytest

from sdi.service import agencies as service
from sdi.store.sharing import register
from tests.sharing.city import City
from tests.sharing.test_past import asker, given

VIETNAM = timezone(timedelta(hours=7))


class Calendar(datetime):
    """Tells another moment than it is."""

    moment: ClassVar[datetime]

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return cls.moment.astimezone(tz)


def test_a_grant_opens_a_layer_on_its_first_day_and_shuts_it_on_its_last(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, ends = date(2031, 3, 1), date(2031, 3, 10)

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=VIETNAM).astimezone(UTC)

    just = timedelta(microseconds=1)
    days = [(midnight(begins) - just, 404), (midnight(begins), 200), (midnight(begins) + timedelta(days=4), 200),
            (midnight(ends) - just, 200), (midnight(ends), 404)]  # fmt: skip
    Calendar.moment = days[0][0]
    with monkeypatch.context() as patch:
        patch.setattr(register, "datetime", Calendar)
        patch.setattr(service, "datetime", Calendar)
        key = asker(city, "for_some_days", given("for_some_days", "works", valid_from=begins, valid_to=ends))
        found = []
        for moment, _ in days:
            # Nothing but the day is another one: no grant, key or load comes in between.
            Calendar.moment = moment
            time.sleep(0.6)  # from half a second after its last look on, the service looks before it answers
            answers = [city.town.ask(f"/collections/works{rest}", X_API_Key=key) for rest in ("", "/items", "/schema")]
            (status,) = {answer.status for answer in answers}
            found.append(status)
    assert found == [status for _, status in days]
