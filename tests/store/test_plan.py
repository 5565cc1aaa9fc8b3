"""Every kind of change of a contract: what is planned, what is refused, and that the way there does not matter."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdi.contract.registry import read_registry
from sdi.errors import ContractError
from sdi.store import binaries, engine, ledger, migrate
from sdi.store.engine import Connection
from tests.store.conftest import write_contracts
from tests.store.town import CODES, HEIGHTS, PLOTS, Town, attribute, plot, shop, zone

Change = Callable[[str, str, str], None]


class Drafts:
    """The town's contracts while they are being changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def change(self, name: str, old: str, new: str) -> Drafts:
        file = self.folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        return self

    def remove(self, *names: str) -> Drafts:
        for name in names:
            (self.folder / name).unlink()
        return self

    def add(self, name: str, text: str) -> Drafts:
        (self.folder / name).write_text(text, encoding="utf-8")
        return self

    def write(self, text: str) -> Drafts:
        """A written migration."""
        folder = self.folder / "migrations"
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir())) + 1:04}_written.sql").write_text(text, encoding="utf-8")
        return self


@pytest.fixture
def drafts(town: Town, contracts: Path) -> Iterator[Drafts]:
    """The database is brought back at the end."""
    with town.connection.transaction(force_rollback=True):
        yield Drafts(contracts)


def applied(town: Town, drafts: Drafts) -> list[str]:
    """What was done; then there is nothing left to do, and every step has its SQL."""
    registry = read_registry(drafts.folder)
    done = migrate.apply(town.connection, registry)
    assert all(change.statement.strip() for change in done)
    assert migrate.apply(town.connection, registry) == []
    town.registry = registry
    return [change.sentence for change in done]


def refused(town: Town, drafts: Drafts) -> str:
    with pytest.raises(ContractError) as error:
        migrate.apply(town.connection, read_registry(drafts.folder))
    return str(error.value)


def test_what_is_planned_is_shown_with_its_sql_and_not_done(town: Town, contracts: Path) -> None:
    Drafts(contracts).change("zones.yaml", attribute("storeys", "integer"),
                             attribute("storeys", "integer") + attribute("note", "text"))  # fmt: skip
    planned = migrate.plan(town.connection, read_registry(contracts))
    found = {change.sentence: change.statement for change in planned}
    assert found["Add column 'note' to town.zones."] == 'ALTER TABLE "town"."zones" ADD COLUMN note text'
    assert (
        town.rows("SELECT 1 FROM information_schema.columns WHERE table_name = 'zones' AND column_name = 'note'") == []
    )


def test_a_new_attribute_is_a_new_column_of_the_layer_and_its_past(town: Town, drafts: Drafts) -> None:
    drafts.change("zones.yaml", attribute("storeys", "integer"),
                  attribute("storeys", "integer") + attribute("note", "text"))  # fmt: skip
    done = applied(town, drafts)
    assert "Add column 'note' to town.zones." in done
    assert "Add column 'note' to town.zones__past." in done


def test_a_list_by_which_subjects_are_found_has_an_index_as_long_as_they_are(town: Town, drafts: Drafts) -> None:
    by_code, by_use = "key: {plot: code}", "key: {plot: uses}"
    drafts.change("plot_summary.yaml", by_code, by_use)
    asked = "p.uses @> jsonb_build_array(jsonb_build_object('id', k.plot))"
    drafts.change("plot_summary.sql", "k.plot = p.code", asked)
    assert "Create index plots__uses__ix." in applied(town, drafts)
    town.load("plots", [plot(n, uses=[{"id": "ODT" if n % 2 else "CLN", "share": 1.0}]) for n in range(6)])
    town.load("shops", [shop("S1", 20, plot="ODT")])
    told = dict(town.rows("SELECT id, shops FROM town.plot_summary"))
    assert told == {f"P{n}": n % 2 for n in range(6)}
    drafts.change("plot_summary.yaml", by_use, by_code)
    assert "Drop index plots__uses__ix." in applied(town, drafts)


def test_a_dropped_attribute_asks_for_a_written_migration(town: Town, drafts: Drafts) -> None:
    drafts.change("plots.yaml", attribute("floors", "integer"), "")
    assert "ALTER TABLE town.plots DROP COLUMN floors;" in refused(town, drafts)
    drafts.write("ALTER TABLE town.plots DROP COLUMN floors; ALTER TABLE town.plots__past DROP COLUMN floors;")
    assert applied(town, drafts)[0] == "Run 0001_written.sql."


def test_another_type_asks_for_a_written_migration_and_text_and_code_are_one(town: Town, drafts: Drafts) -> None:
    drafts.change("plots.yaml", attribute("floors", "integer"), attribute("floors", "decimal"))
    assert "is bigint, the contract asks for numeric" in refused(town, drafts)
    drafts.write(
        "ALTER TABLE town.plots ALTER floors TYPE numeric; ALTER TABLE town.plots__past ALTER floors TYPE numeric;"
    )
    applied(town, drafts)
    drafts.change("zones.yaml", attribute("zone", "text"), attribute("zone", "code", "code_list: use"))
    assert not [sentence for sentence in applied(town, drafts) if "column" in sentence]


def test_another_geometry_type_asks_for_a_written_migration_and_rows_stay(town: Town, drafts: Drafts) -> None:
    town.load("zones", [zone("Z1", 0)])
    drafts.change("zones.yaml", "type: Polygon", "type: MultiPolygon")
    drafts.change("zone_summary.yaml", "type: Polygon", "type: MultiPolygon")
    assert "geometry(Polygon), the contract asks for geometry(MultiPolygon)" in refused(town, drafts)
    drafts.write("".join(
        f"ALTER TABLE town.{name} ALTER geom TYPE geometry(MultiPolygon) USING ST_Multi(geom),"
        " ALTER geom_wgs84 TYPE geometry(MultiPolygon, 4326) USING ST_Multi(geom_wgs84);"
        for name in ("zones", "zones__past", "zone_summary", "zone_summary__past")
    ))  # fmt: skip
    applied(town, drafts)
    assert town.one("SELECT GeometryType(geom) FROM town.zones") == "MULTIPOLYGON"


def test_an_attribute_that_becomes_required_changes_no_column_for_old_rows_may_lack_it(
    town: Town, drafts: Drafts
) -> None:
    town.load("plots", [plot(1, ward=None)])
    drafts.change("plots.yaml", attribute("ward", "text"), attribute("ward", "text", "required: true"))
    assert applied(town, drafts) == ["Create index plots__ward__without__ix.", "Record contract 'plots' 1.0.0."]
    assert town.one("SELECT count(*) FROM town.plots WHERE ward IS NULL") == 1


def test_an_index_comes_and_goes_with_what_is_queryable(town: Town, drafts: Drafts) -> None:
    drafts.change("plots.yaml", attribute("seen_at", "datetime"), attribute("seen_at", "datetime", "queryable: false"))
    assert "Drop index plots__seen_at__known__ix." in applied(town, drafts)
    drafts.change("plots.yaml", attribute("seen_at", "datetime", "queryable: false"), attribute("seen_at", "datetime"))
    assert "Create index plots__seen_at__known__ix." in applied(town, drafts)


def test_privacy_that_grows_hides_at_once_and_personal_data_have_to_be_removed(town: Town, drafts: Drafts) -> None:
    drafts.change("plots.yaml", attribute("listed", "boolean"), attribute("listed", "boolean", "privacy: restricted"))
    assert "Hide from the reader in town.plots: listed." in applied(town, drafts)
    for table in ("plots", "plots__past"):
        assert town.one(f"SELECT has_column_privilege('sdi_reader', 'town.{table}', 'listed', 'SELECT')") is False
    drafts.change(
        "plots.yaml", "privacy: restricted}\n  - {name: surveyed_on", "privacy: personal}\n  - {name: surveyed_on"
    )
    assert "(or became personal)" in refused(town, drafts)
    drafts.write("ALTER TABLE town.plots DROP COLUMN listed; ALTER TABLE town.plots__past DROP COLUMN listed;")
    applied(town, drafts)
    drafts.change("plots.yaml", attribute("dispute", "text", "privacy: restricted"), attribute("dispute", "text"))
    assert "Show to the reader in town.plots: dispute." in applied(town, drafts)


def test_a_renamed_attribute_is_recognised_and_keeps_its_values_by_a_written_migration(
    town: Town, drafts: Drafts
) -> None:
    town.load("plots", [plot(1, floors=7)])
    drafts.change("plots.yaml", attribute("floors", "integer"), attribute("storeys", "integer"))
    said = refused(town, drafts)
    assert "Was it renamed: ALTER TABLE town.plots RENAME COLUMN floors TO storeys;" in said
    drafts.write("".join(re.findall(r"ALTER TABLE \S+ RENAME COLUMN \w+ TO \w+;", said)))
    applied(town, drafts)
    assert town.one("SELECT storeys FROM town.plots") == 7


def test_a_new_layer_is_a_new_table_and_a_removed_one_is_hidden_and_kept(town: Town, drafts: Drafts) -> None:
    town.load("zones", [zone("Z1", 0)])
    trees = PLOTS.replace("id: plots", "id: trees").replace("scope: ward", "scope: ward")
    drafts.add("trees.yaml", trees)
    done = applied(town, drafts)
    assert {"Create table town.trees.", "Create table town.trees__past.", "Record contract 'trees' 1.0.0."} <= {*done}
    drafts.remove("trees.yaml")
    done = applied(town, drafts)
    assert "Hide town.trees from the reader: no contract names it any more. Its rows stay." in done
    assert "Forget contract 'trees'." in done
    assert town.one("SELECT has_any_column_privilege('sdi_reader', 'town.trees', 'SELECT')") is False
    assert town.one("SELECT count(*) FROM town.trees") == 0


def test_a_layer_that_moves_to_another_theme_takes_its_rows_along_or_is_refused(town: Town, drafts: Drafts) -> None:
    town.load("shops", [])
    town.load("zones", [zone("Z1", 0)])
    drafts.change("zones.yaml", "theme: town", "theme: planning")
    drafts.change("plot_summary.sql", "town.zones", "planning.zones")
    said = refused(town, drafts)
    assert "town.zones has its rows in schema 'town', the contract's theme is 'planning'" in said
    drafts.write("".join(re.findall(r"(?:CREATE SCHEMA IF NOT EXISTS|ALTER TABLE) [^;]+;", said)))
    done = applied(town, drafts)
    assert "Let loader and reader into schema 'planning'." in done
    assert town.one("SELECT count(*) FROM planning.zones") == 1
    assert ledger.publications(town.connection)["zones"].count == 1


def test_a_code_list_follows_its_file_and_goes_with_it(town: Town, drafts: Drafts) -> None:
    drafts.add("code_lists/kind.csv", CODES)
    assert "Write code list 'kind' (2 entries)." in applied(town, drafts)
    drafts.change("code_lists/kind.csv", "Urban housing", "Housing")
    assert applied(town, drafts) == ["Write code list 'kind' (2 entries)."]
    drafts.remove("code_lists/kind.csv")
    assert applied(town, drafts) == ["Remove code list 'kind'."]


# --- the way there ------------------------------------------------------------------------------------------------


def schema_of(url: str) -> list[str]:
    """The database as pg_dump writes it: whole statements, sorted; columns of a table sorted within it."""
    with engine.connect(url) as connection:
        program = binaries.client("pg_dump", connection.info.server_version // 10000)
    done = subprocess.run(
        [str(program), "--schema-only", "--no-comments", f"--dbname={url}"], check=True, capture_output=True, text=True
    )
    text = "\n".join(
        line for line in done.stdout.splitlines() if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
    )
    statements = []
    for statement in re.split(r";\n(?! )", text):
        head, _, body = statement.partition("(\n")
        lines = (
            sorted(line.strip().rstrip(",") for line in body.splitlines())
            if head.startswith("CREATE TABLE")
            else [body]
        )
        statements.append("\n".join([head, *lines]))
    return sorted(statements)


def test_a_database_that_went_all_the_way_is_the_same_as_one_made_at_once(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    drafts = Drafts(write_contracts(tmp_path / "layers"))
    final = {path.name: path.read_text(encoding="utf-8") for path in drafts.folder.glob("*.*")}

    def step(connection: Connection) -> None:
        migrate.apply(connection, read_registry(drafts.folder))

    url = new_database()
    with engine.connect(url) as connection:
        # An old set: fewer layers, fewer attributes, others public, another type, another theme, another name.
        drafts.remove(*(name for name in final if name not in ("plots.yaml", "zones.yaml")))
        drafts.change("plots.yaml", attribute("ratio", "number"), "")
        drafts.change("plots.yaml", attribute("floors", "integer"), attribute("storeys", "text", "privacy: agency"))
        drafts.change(
            "plots.yaml", attribute("seen_at", "datetime"), attribute("seen_at", "datetime", "queryable: false")
        )
        drafts.change("plots.yaml", ", privacy: restricted", "")
        drafts.change("zones.yaml", "theme: town", "theme: planning")
        step(connection)
        tables = ("plots", "plots__past")
        drafts.add("plots.yaml", final["plots.yaml"])
        drafts.write(
            "".join(f"ALTER TABLE town.{name} RENAME storeys TO floors;" for name in tables)
            + "".join(f"ALTER TABLE town.{name} ALTER floors TYPE bigint USING floors::bigint;" for name in tables)
        )
        step(connection)
        drafts.add("zones.yaml", final["zones.yaml"])
        drafts.write("ALTER TABLE planning.zones SET SCHEMA town; ALTER TABLE planning.zones__past SET SCHEMA town;"
                     " DROP SCHEMA planning;")  # fmt: skip
        drafts.add("heights.yaml", HEIGHTS)
        step(connection)
        for name, text in final.items():
            drafts.add(name, text)
        step(connection)
    once = new_database()
    with engine.connect(once) as connection:
        migrate.apply(connection, read_registry(write_contracts(tmp_path / "again" / "layers")))
    assert schema_of(url) == schema_of(once)
