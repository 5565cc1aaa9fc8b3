"""What one may not see does not exist: whatever happens to it, not one byte of any answer changes.

Random agencies with random grants ask everything; then something happens to the data that is hidden from some of them,
as an evaluator in Python tells, which knows nothing of the service's rules; then they ask everything again. Every
agency from which it was hidden must be told the same to the byte, headers included; every other one must be told
something else, or the comparison would be blind.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import shapely
from psycopg import sql

from sdi.access import Agency, Grant
from sdi.contract.query import Area, FeatureQuery
from sdi.service.rights import seen
from sdi.store import engine, features
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import Answer
from tests.sharing.city import (
    City,
    Event,
    Policy,
    Seen,
    addresses,
    certain,
    conceived,
    general,
    ground_of,
)
from tests.sharing.conftest import AGENCIES, SEED

EVENTS = int(os.environ.get("EVENTS", "4"))
"""Things that happen to the data, one after the other."""
LEAST = {"hidden": 1 / 6, "shown": 1 / 12}
"""Of all pairs of an agency and an event, those that must be hidden, and shown, or the comparison would be blind."""
TRIES = 20
"""Chances from which the next event is taken."""
SHARE = 1.0 if AGENCIES > 20 else 0.2
"""Of all addresses, those that one agency asks: a short look asks each address of some agencies."""
FILES = 1 if AGENCIES <= 20 else 10
"""Agencies that also fetch whole layers as files: each file is made by a process of its own, which takes a second."""
EXPORTS = {"plots": "gpkg", "cards": "parquet"} | ({"works": "fgb"} if AGENCIES > 20 else {})
TOLD = {"content-type", "content-crs", "content-language", "link", "etag", "last-modified", "cache-control", "vary",
        "ogc-numbermatched", "ogc-numberreturned", "repr-digest", "content-disposition", "allow", "content-length",
        "retry-after", "location", "www-authenticate"}  # fmt: skip

Told = tuple[int, list[tuple[str, str]], bytes]


def told(city: City, asker: Policy, paths: list[str]) -> dict[str, Told]:
    """All answers, each with its status, its headers and its bytes."""
    return {path: _told(path, _settled_answer(city, asker, path)) for path in paths}


def _settled_answer(city: City, asker: Policy, path: str) -> Answer:
    """An answer whose matches could not be counted in time says so, and is no tag's: on a busy machine it may be
    another the next time though nothing has changed."""
    ends = time.monotonic() + 60
    while True:
        answer = city.town.ask(path, X_API_Key=asker.key)
        unsettled = answer.status == 200 and "/items?" in path and answer.headers["Cache-Control"] == "no-store"
        if not unsettled or time.monotonic() > ends:
            return answer
        time.sleep(0.05)


def _told(path: str, answer: Answer) -> Told:
    assert answer.status < 500, (path, answer.body[:300])
    headers = sorted((name.lower(), value) for name, value in answer.headers.items() if name.lower() in TOLD)
    if "/dossier?" in path:
        # A dossier is a document of the moment at which it is asked for, and says which: that alone is another.
        headers = [header for header in headers if header[0] not in ("etag", "content-length")]
        moment = rb'"timeStamp":"[^"]*"|<p class="disclaimer">.*'
        return answer.status, headers, re.sub(moment, b"", answer.body)
    return answer.status, headers, answer.body


def files(city: City, asker: Policy) -> dict[str, Told]:
    """Whole layers and their checksums."""
    found = {}
    for layer, format_ in EXPORTS.items():
        for path in (f"/collections/{layer}/export?f={format_}", f"/collections/{layer}/export/sha256?f={format_}"):
            answer = _until(city, path, asker, lambda answer: answer.status != 503)
            found[path] = _told(path, answer)
    return found


def test_the_service_shows_each_agency_what_the_evaluator_says(city: City, askers: list[Policy]) -> None:
    """Ids and values of every feature, for every agency: the two rules are one."""
    for asker in askers:
        for layer, expected in asker.sees(city.rows).items():
            answer = city.town.ask(f"/collections/{layer}/items?f=json&limit=30", X_API_Key=asker.key)
            if answer.status == 404:
                assert not any(part.grant.layer == layer for part in asker.parts), (asker.agency, layer)
                continue
            found = {feature["id"]: feature for feature in _all(city, answer.json, asker)}
            assert found.keys() == expected.keys(), (asker, layer)
            for name, (values, _) in expected.items():
                shown = {key: value for key, value in found[name]["properties"].items() if value is not None}
                assert shown == {key: _plain(value) for key, value in values.items()}, (asker, name)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _all(city: City, page: Any, asker: Policy) -> Iterator[Any]:
    while True:
        yield from page["features"]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            return
        page = city.town.get(following[0].removeprefix(city.town.url), X_API_Key=asker.key)


def test_what_is_hidden_changes_no_byte_of_any_answer(city: City, askers: list[Policy], then: str) -> None:
    chance = random.Random(SEED)
    names = {layer: [*chance.sample(sorted(rows), 2), new] for (layer, rows), new in
             zip(city.rows.items(), ("P140", "W116"), strict=True)}  # fmt: skip
    names["cards"] = names["plots"]
    paths = {asker.agency: _asked(asker, names, then, chance) for asker in askers}
    writers = askers[:FILES]
    counted = Counter[str]()
    # Files first: the catalogue tells which lie ready.
    made = {asker.agency: files(city, asker) for asker in writers}
    before = {asker.agency: told(city, asker, paths[asker.agency]) for asker in askers}
    saw = {asker.agency: asker.sees(city.rows) for asker in askers}
    for _ in range(EVENTS):
        event = _happens(city, askers, saw, counted, chance)
        city.load(event.layer)
        _settled()
        for asker in askers:
            after = files(city, asker) if asker in writers else {}
            former = before[asker.agency] | made.get(asker.agency, {})
            after |= told(city, asker, paths[asker.agency])
            sees = asker.sees(city.rows)
            kind = _judged(city, asker, (saw[asker.agency], sees), (former, after), event, chance)
            counted[kind] += 1
            saw[asker.agency], before[asker.agency] = sees, after
            made.pop(asker.agency, None)
    assert counted["hidden"] >= int(AGENCIES * EVENTS * LEAST["hidden"]), counted
    assert counted["shown"] >= int(AGENCIES * EVENTS * LEAST["shown"]), counted


def _happens(
    city: City, askers: list[Policy], saw: dict[str, Seen], counted: Counter[str], chance: random.Random
) -> Event:  # fmt: skip
    """What happens next: the first of some chances after which enough was hidden, and enough shown, or the nearest to
    it. Of chances alone some policies find too few hidden ones, and the comparison would be blind."""
    events = counted.total() // len(askers) + 1
    found = []
    for _ in range(TRIES):
        event = conceived(city.rows, chance)
        rows = event.upon(city.rows)
        kinds = counted + Counter(_kind(saw[asker.agency], asker.sees(rows)) for asker in askers)
        lacking = sum(max(0.0, len(askers) * events * least - kinds[kind]) for kind, least in LEAST.items())
        found.append((lacking, len(found), event))
        if not lacking:
            break
    event = min(found)[-1]
    city.rows = event.upon(city.rows)
    return event


def _kind(before: Seen, after: Seen) -> str:
    """Whether something was hidden from who sees so, or shown; of a place on a coarse grid that cannot be said."""
    if before == after:
        return "hidden"
    return "undecided" if certain(before) == certain(after) else "shown"


def _asked(asker: Policy, names: dict[str, list[str]], then: str, chance: random.Random) -> list[str]:
    paths = [*general(asker.agency, names["plots"])]
    paths += [each for layer in names for each in addresses(layer, names[layer], then)]
    return [path for path in paths if chance.random() < SHARE]


def _judged(
    city: City, asker: Policy, saw: tuple[Seen, Seen], answers: tuple[dict[str, Told], dict[str, Told]], event: Event,
    chance: random.Random,
) -> str:  # fmt: skip
    """Whether the event was hidden from who asks, and whether the answers are as they must be then."""
    before, after = answers
    changed = [path for path in after if _differ(before[path], after[path])]
    about = asker.agency, asker.parts, event
    kind = _kind(*saw)
    if kind == "hidden":
        assert changed == [], (*about, changed, [_difference(before[path], after[path]) for path in changed[:2]])
        _stands(city, asker, before, chance)
    assert changed or kind != "shown", about
    return kind


def _difference(one: Told, other: Told) -> Any:
    """Where two answers differ: the headers, and the bytes around the first other one."""
    at = next((at for at, (a, b) in enumerate(zip(one[2], other[2], strict=False)) if a != b), 0)
    around = slice(max(0, at - 100), at + 200)
    headers = sorted({*one[1]} ^ {*other[1]})
    return (one[0], other[0]), headers, one[2][around], other[2][around]


def _stands(city: City, asker: Policy, before: dict[str, Told], chance: random.Random) -> None:
    """Whoever holds an answer from before is told that it still stands, and HEAD tells what GET does."""
    held = {path: dict(headers)["etag"] for path, (status, headers, _) in before.items()
            if status == 200 and "etag" in dict(headers)}  # fmt: skip
    for path in chance.sample(sorted(held), min(6, len(held))):
        answer = city.town.ask(path, X_API_Key=asker.key, If_None_Match=held[path])
        assert (answer.status, answer.body) == (304, b""), (asker.agency, path)
        head = _told(path, city.town.ask(path, method="HEAD", X_API_Key=asker.key))
        lately = ("last-modified", "content-length")
        assert (head[0], [each for each in head[1] if each[0] not in lately], head[2]) == (
            200, [each for each in before[path][1] if each[0] not in lately], b""), (asker.agency, path)  # fmt: skip


def _differ(one: Told, other: Told) -> bool:
    """Last-Modified is told from two seconds after the answer was first so; it differs where both tell another."""
    modified = [dict(each[1]).get("last-modified") for each in (one, other)]
    same = None in modified or modified[0] == modified[1]
    rest = [(each[0], [header for header in each[1] if header[0] != "last-modified"], each[2]) for each in (one, other)]
    return not same or rest[0] != rest[1]


def _settled() -> None:
    """From half a second after its last look on, the service looks at the ledger before it answers."""
    time.sleep(0.6)


def test_another_grant_is_another_tag_of_the_same_rows(city: City) -> None:
    """Whoever holds a page from before would otherwise be told that it still stands."""
    asker = Policy("agency_of_tags")
    page = "/collections/plots/items?f=json&limit=3"
    with engine.connect(city.town.database, engine.OWNER) as owner:
        agencies.add(owner, asker.agency, "ward", "Phường thử", "Test ward")
        asker.key = keys.make_key(owner, asker.agency)
        before = city.town.ask(page, X_API_Key=asker.key)
        grant = Grant(0, asker.agency, "plots", frozenset({"open", "agency"}), legal_basis="x", purpose="y")
        number = grants.give(owner, city.town.registry["plots"], grant)
        wider = _until(city, page, asker, lambda answer: b"legal_area" in answer.body)
        grants.revoke(owner, number, "the end of the test")
        after = _until(city, page, asker, lambda answer: b"legal_area" not in answer.body)
    assert wider.headers["ETag"] != before.headers["ETag"]
    assert (after.headers["ETag"], after.body) == (before.headers["ETag"], before.body)


def _until(city: City, path: str, asker: Policy, holds: Callable[[Answer], bool]) -> Answer:
    """The first answer of which something holds; without a tag that it might be held by."""
    ends = time.monotonic() + 180
    while not holds(answer := city.town.ask(path, X_API_Key=asker.key)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert holds(answer)
    return answer


@pytest.mark.parametrize("kind", ["rows", "fields", "ground", "generalised", "centroid"])
def test_a_box_is_looked_for_by_the_index_over_places_under_every_rule(city: City, kind: str) -> None:
    layer = city.town.registry["plots"]
    ground = shapely.to_geojson(ground_of(random.Random(3)))
    base = Grant(1, "a", "plots", frozenset({"open", "agency", "restricted"}))
    given = {
        "rows": replace(base, rows="number > 3"),
        "fields": replace(base, classes=frozenset({"open"}), rows="number > 3"),
        "ground": replace(base, polygon=ground),
        "generalised": replace(base, precision="generalised", metres=50.0),
        "centroid": replace(base, precision="centroid", rows="number > 3"),
    }[kind]
    # Without the contract's own share, which shows every place exactly.
    hidden = layer.model_copy(
        update={"sharing": layer.sharing.model_copy(update={"level": "agency", "withhold": None})}
    )
    agency = Agency("a", grants=(given,))
    shown = seen(agency, hidden)
    query = FeatureQuery(
        "plots", shown.attributes, area=Area.of_box(105.84, 21.02, 105.86, 21.04), filters=shown.filters,
        sight=shown.sight, limit=10,
    )  # fmt: skip
    statement = features.select_block(hidden, query)
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        # Of 40 rows the order's index is walked all the same; with a bitmap PostgreSQL has to search for the places.
        reader.execute("SET enable_seqscan = off; SET enable_indexscan = off")
        plan = reader.execute(sql.SQL("EXPLAIN ") + statement.sql, statement.params).fetchall()
    assert any("Index Cond" in row[0] and "geom_wgs84 &&" in row[0] for row in plan), plan
