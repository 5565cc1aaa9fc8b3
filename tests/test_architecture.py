"""The house rules, read off the source: what imports what, what stands where, how long things are.

Every rule is a function from a source file to sentences; the last tests show that each rule catches what it forbids.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path

import pytest

from sdi.contract.query import as_of
from sdi.national.clock import VIETNAM

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "errors": 0, "settings": 0,
    "contract": 1, "national": 1,
    "access": 2,
    "catalog": 3, "demo": 3, "ingest": 3, "report": 3, "store": 3,
    "diagnosis": 4, "pipeline": 4, "service": 4,
    "cli": 5,
    "__main__": 6,
}  # fmt: skip
"""Each room of the house, and the floor it stands on."""

HOMES = {
    "pydantic": {"settings", "contract"},
    "pydantic_settings": {"settings"},
    "yaml": {"contract", "demo"},
    # The service and the diagnosis hand coordinates to sdi.national, which takes arrays.
    "numpy": {"national", "ingest", "store", "demo", "report", "service", "diagnosis"},
    "pyproj": {"national", "ingest"},
    "pyogrio": {"ingest", "demo"},
    "rasterio": {"ingest", "demo"},
    "exactextract": {"ingest"},
    "shapely": {"ingest", "store", "demo"},
    "pyarrow": {"ingest", "store", "demo"},
    "sqlalchemy": {"store"},
    "geoalchemy2": {"store"},
    "psycopg": {"store"},
    "psycopg_pool": {"store"},
    "pgpq": {"store"},
    "cql2": {"store"},
    "fastapi": {"service"},
    "starlette": {"service"},
    "anyio": {"service"},
    "pygeoapi": {"service"},
    "jwt": {"service"},
    "prometheus_client": {"service"},
    "jinja2": {"report", "service"},
    "markupsafe": {"report", "service"},
    "babel": {"report", "service"},
    "backports": {"service"},
    "isal": {"service"},
    "compression": {"service"},  # Python's own, since 3.14
    "structlog": {"service"},
    "uvicorn": {"cli", "service"},
    "typer": {"cli"},
    "rich": {"cli"},
}
"""Each library, and the rooms that may import it."""

PART_OF = {
    "starlette": "fastapi",
    "anyio": "fastapi",
    "markupsafe": "jinja2",
    "psycopg_pool": "psycopg",
    "yaml": "pyyaml",
    "jwt": "pyjwt",
    "backports": "backports.zstd",
    "compression": "backports.zstd",
}
"""A module whose distribution has another name, or comes with one that is declared."""

TRANSFORMS = {
    "sdi/store/sql/0001_foundation.sql": "sdi.regrid: between grids of one datum, anything else raises",
    "sdi/store/forms.py": "from geom_wgs84 to a grid of WGS 84 (3857, UTM): the datum stays",
    "sdi/store/tiles.py": "from geom_wgs84 to EPSG:3857: the datum stays",
    "sdi/store/export.py": "from geom_wgs84 to a grid of WGS 84 (3857, UTM): the datum stays",
}
"""Where ST_Transform may stand, and why no datum is crossed there."""

MAX_FILE, MAX_FUNCTION = 450, 70

VAGUE = {"utils", "util", "helpers", "helper", "managers", "manager", "common", "base", "misc"}


@dataclass(frozen=True)
class Source:
    """One Python file of the house."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """`store` of sdi/store/ledger.py; empty for sdi/__init__.py itself."""
        return self.module.partition(".")[2].partition(".")[0]

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and full name of every module imported, wherever it stands in the file."""
        found = []
        package = self.module.split(".") if self.path.endswith("__init__.py") else self.module.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                name = ".".join([*above, *([node.module] if node.module else [])])
                # `from sdi import store` names the room behind the import.
                found += [(node.lineno, f"{name}.{alias.name}" if name == "sdi" else name) for alias in node.names]
        return found

    @cached_property
    def strings(self) -> list[tuple[int, str]]:
        """Line and value of every string that is not documentation; an f-string with {} for what it fills in."""
        said = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                found.append((node.lineno, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                found.append((node.lineno, node.value))
        return found

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


# --- the rules ----------------------------------------------------------------------------------------------------


def looks_down(source: Source) -> Iterator[str]:
    """A module imports only from floors below, or from its own room."""
    if not source.room:
        return
    if source.room not in FLOORS:
        yield f"{source.path} stands on no floor: give '{source.room}' one in FLOORS of {Path(__file__).name}."
        return
    for line, name in source.imports:
        parts = name.split(".")
        other = parts[1] if parts[0] == "sdi" and len(parts) > 1 else ""
        if other not in FLOORS or other == source.room:
            continue
        mine, theirs = FLOORS[source.room], FLOORS[other]
        if theirs > mine:
            yield f"{source.at(line)} looks up: {source.room} (floor {mine}) imports {other} (floor {theirs})."
        elif theirs == mine != 0:  # the ground floor is one room: settings raise errors
            yield f"{source.at(line)} looks sideways: {source.room} and {other} both stand on floor {mine}."


def library_at_home(source: Source) -> Iterator[str]:
    """A library is imported in its home rooms only."""
    for line, name in source.imports:
        library = name.split(".")[0]
        if library == "sdi" or library in sys.stdlib_module_names:
            continue
        if library not in HOMES:
            yield f"{source.at(line)} imports {library}, which has no home: give it one in HOMES, or do without."
        elif source.room not in HOMES[library]:
            yield f"{source.at(line)} imports {library}, whose home is {' and '.join(sorted(HOMES[library]))}."


SQL = re.compile(
    r"\bSELECT\s.+\sFROM\b|\bINSERT\s+INTO\b|\bUPDATE\s+\S+\s+SET\b|\bDELETE\s+FROM\b|\bTRUNCATE\s+\w"
    r"|\b(CREATE|ALTER|DROP)\s+(TABLE|SCHEMA|INDEX|ROLE|VIEW|DATABASE|EXTENSION)\b|\bSET\s+(LOCAL\s+)?ROLE\b",
    re.DOTALL,
)


def sql_in_store(source: Source) -> Iterator[str]:
    """SQL is written in the store only."""
    if source.room == "store":
        return
    for line, text in source.strings:
        if found := SQL.search(text):
            yield f"{source.at(line)} holds SQL ('{found.group(0)[:30]}…'): it belongs in sdi/store."


def names_no_layer(source: Source, layers: Iterable[str]) -> Iterator[str]:
    """What a layer is called is said by its contract alone; the demo city delivers to layers, so it may name them."""
    if source.room == "demo":
        return
    known = set(layers)
    for line, text in source.strings:
        if text in known:
            yield f"{source.at(line)} names the layer '{text}': only its contract may."


def names_no_attribute(source: Source, attributes: Iterable[str]) -> Iterator[str]:
    """What an attribute is called is said by its contract alone. One-word names are words of the language too."""
    if source.room == "demo":
        return
    known = {name for name in attributes if "_" in name}
    for line, text in source.strings:
        if text in known:
            yield f"{source.at(line)} names the attribute '{text}': only a contract may."


def fits_the_head(source: Source) -> Iterator[str]:
    """A file fits in the head, a function on a screen."""
    lines = source.text.count("\n") + 1
    if lines > MAX_FILE:
        yield f"{source.path} has {lines} lines, more than {MAX_FILE}: which second reason to change is in it?"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"{source.at(node.lineno)} {node.name}() has {length} lines, more than {MAX_FUNCTION}."


def says_no_print(source: Source) -> Iterator[str]:
    """Only the terminal prints; the others return values, log, or raise."""
    if source.room == "cli":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{source.at(node.lineno)} prints: only sdi/cli does."


def counts_in_a_language(source: Source) -> Iterator[str]:
    """What people read in the terminal has the separators of their language: `1.229` in Vietnamese, not `1,229`."""
    if source.room not in {"cli", "pipeline", "report"}:
        return
    for node in ast.walk(source.tree):
        spec = node.format_spec if isinstance(node, ast.FormattedValue) else None
        for part in spec.values if isinstance(spec, ast.JoinedStr) else []:
            if isinstance(part, ast.Constant) and "," in str(part.value) and source.path != "sdi/report/drawing.py":
                yield f"{source.at(node.lineno)} writes a number in English: sdi.report.words.number has the languages."


def swallows_nothing(source: Source) -> Iterator[str]:
    """An error is handled by name or goes on."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"{source.at(node.lineno)} has a bare 'except:': name what it handles."
        broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
        if broad and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body):
            yield f"{source.at(node.lineno)} swallows every error: name the ones that do not matter, and say why."


WORLD = {"Settings", "read_settings", "create_app", "FastAPI", "create_engine", "ConnectionPool", "now", "today",
         "time", "monotonic", "read_registry", "connect", "getenv"}  # fmt: skip


def starts_nothing_at_import(source: Source) -> Iterator[str]:
    """No settings, clock, engine or app at module level: importing a module reads nothing of the world."""
    for statement in source.tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Lambda):
                continue
            name = ""
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in WORLD or (isinstance(node, ast.Attribute) and node.attr == "environ"):
                yield f"{source.at(statement.lineno)} reads the world at import ({name or 'environ'})."


def has_a_telling_name(source: Source) -> Iterator[str]:
    """A module is called by what it does."""
    for part in source.module.split("."):
        if part in VAGUE:
            yield f"{source.path}: '{part}' says nothing; name the module by what it does."


RULES: list[Callable[[Source], Iterator[str]]] = [
    looks_down, library_at_home, sql_in_store, fits_the_head, says_no_print, swallows_nothing, starts_nothing_at_import,
    has_a_telling_name, counts_in_a_language,
]  # fmt: skip


# --- the house ----------------------------------------------------------------------------------------------------


@cache
def house() -> tuple[Source, ...]:
    paths = sorted((ROOT / "sdi").rglob("*.py"))
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git keeps or would be given; without git's folder, every file of the known places."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        found = [
            path for place in ("sdi", "layers", "schemas", "tests", "notebooks") for path in (ROOT / place).rglob("*")
        ]
    else:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return tuple(path for path in found if path.is_file())


def contract_lines(pattern: str) -> set[str]:
    """What a pattern finds in the contracts, one match per line; the test knows no YAML library."""
    found: set[str] = set()
    for path in (ROOT / "layers").glob("*.yaml"):
        found |= set(re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def agree(sentences: Iterable[str]) -> None:
    """Fail with the sentences, and nothing but them."""
    said = sorted(set(sentences))
    if said:
        pytest.fail("\n".join(["", *said]), pytrace=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[Source], Iterator[str]]) -> None:
    assert len(house()) > 30
    agree(sentence for source in house() for sentence in rule(source))


def test_no_module_names_a_layer() -> None:
    layers = contract_lines(r"^id:\s*([a-z0-9_]+)")
    assert len(layers) >= 9
    agree(sentence for source in house() for sentence in names_no_layer(source, layers))


def test_no_module_names_an_attribute() -> None:
    attributes = contract_lines(r"^\s+-\s*(?:\{\s*)?name:\s*([a-z0-9_]+)")
    nouns = words_of_the_contract()
    assert len(attributes) > 50
    agree(sentence for source in house() for sentence in names_no_attribute(source, attributes - nouns))


def words_of_the_contract() -> set[str]:
    """Names that the code has of itself: the fields of the nouns in sdi/contract, and the columns of every table."""
    fields = {
        node.target.id for source in house() if source.room == "contract" for node in ast.walk(source.tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }  # fmt: skip
    return fields | {"subject_id", "row_hash", "load_id", "source_row", "geom_wgs84"}


def test_no_page_or_script_of_the_service_names_a_layer() -> None:
    layers = {name for name in contract_lines(r"^id:\s*([a-z0-9_]+)") if "_" in name}
    spoken = re.compile(rf"\b({'|'.join(sorted(layers))})\b")
    agree(
        f"{path.relative_to(ROOT)} names the layer '{found}': only its contract may."
        for path in sorted((ROOT / "sdi").rglob("*"))
        if path.suffix in {".html", ".js", ".sql", ".css", ".po"} and "demo" not in path.parts
        for found in spoken.findall(path.read_text(encoding="utf-8"))
    )


def test_no_two_migrations_have_one_number() -> None:
    numbers = [path.name.partition("_")[0] for path in (ROOT / "sdi" / "store" / "sql").glob("*.sql")]
    assert sorted(numbers) == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_no_datum_is_crossed_by_the_database() -> None:
    """PROJ's own choice of operation is off by metres in the south; only sdi.national crosses the datum."""

    def places() -> Iterator[tuple[str, str]]:
        for path in [*sorted((ROOT / "sdi").rglob("*.sql")), *sorted((ROOT / "layers").glob("*.sql"))]:
            yield path.relative_to(ROOT).as_posix(), re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        for source in house():
            yield source.path, "\n".join(text for _, text in source.strings)

    found = {name for name, text in places() if re.search(r"\bST_Transform\s*\(", text, re.IGNORECASE)}
    agree(
        f"{name} calls ST_Transform: use sdi.regrid, or give the reason in TRANSFORMS."
        for name in found - TRANSFORMS.keys()
    )
    agree(f"{name} calls ST_Transform no more: take it out of TRANSFORMS." for name in TRANSFORMS.keys() - found)


def test_the_time_zone_of_the_country_is_written_once() -> None:
    """And once more beside it, on the one floor that may not import it."""
    told = {source.path for source in house() if re.search(r"timedelta\(hours=7\)", source.text)}
    assert told == {"sdi/national/clock.py", "sdi/contract/query.py"}
    assert as_of("2026-11-21") == datetime(2026, 11, 21, 23, 59, 59, 999_999, tzinfo=VIETNAM)


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[\[><=~ ]", need)[0].replace("_", "-").lower() for need in project["dependencies"]}
    imported = {
        name.split(".")[0] for source in house() for _, name in source.imports
        if name.split(".")[0] not in sys.stdlib_module_names | {"sdi"}
    }  # fmt: skip
    wanted = {PART_OF.get(name, name).replace("_", "-") for name in imported}
    agree(f"sdi imports {name}, which pyproject.toml does not declare." for name in wanted - declared)
    agree(f"pyproject.toml declares {name}, which nothing in sdi imports." for name in declared - wanted)


ELSEWHERE = re.compile(
    "|".join(
        re.escape("".join(parts)) for parts in [
            ("py", "pi.org"), ("pythonhosted", ".org"), ("deb.debian", ".org"), ("registry.npm", "js"),
            ("crates", ".io/"), ("proxy.gol", "ang"), ("repo1.ma", "ven"), ("/wo", "rk/"), ("/ro", "ot/"),
            ("/tmp/pro", "be"), ("/tmp/dev", "pg"),
        ]
    )
)  # fmt: skip


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    def sentences() -> Iterator[str]:
        for path in tracked():
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture, a delivered file in a legacy encoding
            for number, line in enumerate(text.splitlines(), 1):
                if found := ELSEWHERE.search(line):
                    yield f"{path.relative_to(ROOT)}:{number} names '{found.group(0)}', which is not everywhere."

    assert len(tracked()) > 50
    agree(sentences())


# --- the rules themselves -----------------------------------------------------------------------------------------


BREACHES = [
    (looks_down, "sdi/store/x.py", "from sdi.service import app", "looks up"),
    (looks_down, "sdi/store/x.py", "from sdi import service", "looks up"),
    (looks_down, "sdi/store/x.py", "def f():\n    import sdi.ingest.source", "looks sideways"),
    (looks_down, "sdi/store/x.py", "from ..catalog import style", "looks sideways"),
    (looks_down, "sdi/attic.py", "", "stands on no floor"),
    (library_at_home, "sdi/cli/x.py", "import psycopg.sql", "whose home is store"),
    (library_at_home, "sdi/store/x.py", "import left_pad", "has no home"),
    (sql_in_store, "sdi/service/x.py", "q = f'SELECT {x} FROM t'", "holds SQL"),
    (sql_in_store, "sdi/cli/x.py", "q = 'DROP TABLE t'", "holds SQL"),
    (fits_the_head, "sdi/x.py", "\n" * MAX_FILE, "lines"),
    (fits_the_head, "sdi/x.py", "def f():\n" + "    f()\n" * MAX_FUNCTION, "f() has"),
    (says_no_print, "sdi/store/x.py", "print(1)", "prints"),
    (swallows_nothing, "sdi/x.py", "try:\n    f()\nexcept:\n    raise", "bare"),
    (swallows_nothing, "sdi/x.py", "try:\n    f()\nexcept Exception:\n    pass", "swallows"),
    (starts_nothing_at_import, "sdi/x.py", "settings = read_settings()", "at import"),
    (starts_nothing_at_import, "sdi/x.py", "HOME = os.environ['HOME']", "at import"),
    (has_a_telling_name, "sdi/store/utils.py", "", "says nothing"),
    (counts_in_a_language, "sdi/cli/x.py", "f'{count:,} rows'", "in English"),
    (counts_in_a_language, "sdi/pipeline/x.py", "f'{area:,.{places}f} m²'", "in English"),
]


@pytest.mark.parametrize(("rule", "path", "text", "said"), BREACHES, ids=lambda value: getattr(value, "__name__", None))
def test_the_rule_catches_a_breach(rule: Callable[[Source], Iterator[str]], path: str, text: str, said: str) -> None:
    sentences = list(rule(Source(path, text)))
    assert sentences
    assert said in sentences[0]


def test_the_rule_catches_the_name_of_a_layer_and_of_an_attribute_but_not_in_documentation() -> None:
    source = Source(
        "sdi/service/x.py", '"""About town_walls."""\nif layer == "town_walls" and row["wall_height"]: pass'
    )
    assert len(list(names_no_layer(source, ["town_walls"]))) == 1
    assert len(list(names_no_attribute(source, ["wall_height", "name"]))) == 1


def test_a_module_may_look_down_and_use_its_own_libraries() -> None:
    text = "import json\nimport psycopg\nfrom sdi.contract.layer import Layer\nq = 'DELETE FROM t'"
    source = Source("sdi/store/x.py", text)
    assert [sentence for rule in RULES for sentence in rule(source)] == []
