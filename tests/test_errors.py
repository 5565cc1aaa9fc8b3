"""What people read when something goes wrong: every sentence of the source has its Vietnamese, and comes back."""

from __future__ import annotations

import ast
import json
import re
import string
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from sdi.cli import main
from sdi.contract.registry import read_registry
from sdi.errors import VIETNAMESE, ContractError, Fault, NotFound, SdiError, Section, UsageError, nearest, translated
from sdi.service import problems

ROOT = Path(__file__).resolve().parents[1]

SENTENCES: tuple[Section, ...] = ("titles", "messages", "hints", "faults", "findings")
EXAMINERS = ("sdi/diagnosis.py", "sdi/store/check.py", "sdi/store/indexes.py", "sdi/store/logins/service.py")
"""Whose findings `sdi doctor` shows."""

SPOKEN = {
    ("sdi/errors.py", "nearest"): "nearest",
    ("sdi/ingest/place.py", "propose"): "proposal",
    ("sdi/ingest/place.py", "_proposal"): "fit",
    ("sdi/store/cql_check.py", "_a"): "kind",
    ("sdi/store/cql_check.py", "_shown"): "shown",
    ("sdi/store/hold.py", "__str__"): "holder",
    ("sdi/store/structure.py", "_write_it"): "migration",
}
"""Functions whose answers stand within sentences, and the section of phrases that has them."""
SECTIONS = {function: section for (_, function), section in SPOKEN.items()} | {"_who": "holders"}

INLINE = {"_outside", "_state", "_near", "_what"}
"""Functions whose answers are parts of one sentence: that is in the catalogue as a whole."""

BY_HAND: dict[str, dict[str, str]] = {
    "titles": {
        "Not Found": "the phrase of HTTP's 404",
        "Method Not Allowed": "the phrase of HTTP's 405",
    },
    "messages": {"SDI_{0}: {1}": "settings.py joins one line for each wrong variable"},
    "hints": {"Say it with --crs EPSG:….": "raster.py: propose() is empty where no grid fits"},
    "faults": {"{0}: {1}": "registry.py: where it stands, and what pydantic says of it"},
    "thing": dict.fromkeys(
        ("layer", "attribute", "stored attribute", "code list", "code"), "faults.py, _unknown(): what there is not"
    ),
    "shape": dict.fromkeys(
        ("a number", "true or false", "a text", "a condition in CQL2 text", "an attribute", "a list of attributes",
         "a mapping", "a mapping to lists"), "parameters.py: what a parameter must be",
    ),
    "holders": {
        "{0} since {1}, {2}": "writers.py, _named() joins the holders",
        "{0} since {1} and {2} more": "_named(): those left out",
        "{0} since {1}": "_named(): one holder",
        "{0}": "_rest(): the contract's steward",
    },
    "changes": {"{0}; {1}": "writers.py joins the areas", "{0}": "one area"},
    "change": {"{0}: {1} changes, {2}": "of an area"},
    "area": {
        "without {0}": "writers.py: features that name no area", "elsewhere": "in a layer without areas",
        "{0}": "an area's code",
    },
    "fits": {"{0}; {1}": "place.py joins the proposals", "{0}": "one proposal"},
}  # fmt: skip
"""Sentences that the syntax does not tell, each with its reason."""
FOREIGN = ("invalid", "usage", "unusable")
"""What pydantic says, what typer says, and how it says what is wrong with a value."""


# --- the sentences of the source ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hole:
    """What a sentence is filled with; `section` where it is a phrase of ours."""

    section: str = ""


Template = tuple[str | Hole, ...]


class Value(Exception):
    """An expression that is no sentence, but what one is filled with."""


class Source:
    """One Python file, taken apart."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        return [(_name(node), node) for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    def said(self, node: ast.expr) -> list[Template]:
        """Every sentence that an expression can be. Raises Value."""
        match node:
            case ast.Constant(value=None):
                return [()]
            case ast.Constant(value=str(text)):
                return [(text,)]
            case ast.JoinedStr(values=values):
                return _every(self._filled(part) for part in values)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return _every([self.filled(left), self.filled(right)])
            case ast.BinOp(op=ast.Mult(), left=ast.Constant(value=str(text))):
                return [(), (text,)]
            case ast.IfExp(body=body, orelse=other):
                return [*self.filled(body), *self.filled(other)]
            case ast.BoolOp(op=ast.Or(), values=values):
                return [template for value in values for template in self.filled(value)]
            case ast.Subscript(value=ast.Dict(values=values)):
                return [template for value in values for template in self.said(value)]
            case ast.Name():
                values = self._assigned(node)
                return [template for value in values for template in self.said(value)] if values else _value(node)
            case ast.Call():
                return self._called(node)
        return _value(node)

    def filled(self, node: ast.expr) -> list[Template]:
        """What a hole of a sentence may hold; a name for what has no word in it is a value."""
        try:
            said = self.said(node)
        except Value:
            return [(Hole(),)]
        return said if not isinstance(node, ast.Name) or any(map(is_said, said)) else [(Hole(),)]

    def returned(self, function: str) -> list[Template]:
        """Every sentence that a function of this file answers."""
        return [
            template for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef) and node.name == function
            for answer in ast.walk(node) if isinstance(answer, ast.Return) and answer.value is not None
            for template in self.filled(answer.value)
        ]  # fmt: skip

    def _filled(self, part: ast.expr) -> list[Template]:
        if not isinstance(part, ast.FormattedValue):
            return self.said(part)
        return self.filled(part.value) if part.conversion == -1 and part.format_spec is None else [(Hole(),)]

    def _called(self, node: ast.Call) -> list[Template]:
        name, on = _name(node), node.func.value if isinstance(node.func, ast.Attribute) else None
        if name in SECTIONS:
            return [(Hole(SECTIONS[name]),)]
        if name in INLINE:
            return self.returned(name)
        if name == "str" and on is None and node.args:
            return self.said(node.args[0])
        if name == "strip" and on is not None:
            return [_stripped(template) for template in self.said(on)]
        if name == "get" and isinstance(on, ast.Name):
            for table in self._assigned(on):
                if isinstance(table, ast.Dict):
                    return [each for value in [*table.values, *node.args[1:]] for each in self.filled(value)]
        return _value(node)

    def _assigned(self, name: ast.Name) -> list[ast.expr]:
        """What a name was given before, in its function or in the module."""
        scope: ast.AST = name
        while scope in self.parents and not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            scope = self.parents[scope]
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            if name.id in {each.arg for each in (*scope.args.args, *scope.args.kwonlyargs)}:
                return []
            inner = [value for line, value in _given(ast.walk(scope), name.id) if line < name.lineno]
            if inner:
                return inner
        return [value for _, value in _given(iter(self.tree.body), name.id)]


def _given(nodes: Iterator[ast.AST], name: str) -> Iterator[tuple[int, ast.expr]]:
    for node in nodes:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and node.value is not None:
            yield node.lineno, node.value


def _value(node: ast.expr) -> list[Template]:
    raise Value(ast.unparse(node))


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _every(parts: Any) -> list[Template]:
    return [tuple(piece for choice in choices for piece in choice if piece != "") for choices in product(*parts)]


def _stripped(template: Template) -> Template:
    if template == (Hole("nearest"),):
        return ("Did you mean '", Hole(), "'?")
    ends = list(template)
    if ends and isinstance(ends[0], str):
        ends[0] = ends[0].lstrip()
    if ends and isinstance(ends[-1], str):
        ends[-1] = ends[-1].rstrip()
    return tuple(end for end in ends if end != "")


def written(template: Template) -> str:
    """A template as the catalogue writes it: `{0}`, `{1:nearest}`."""
    text, count = "", 0
    for part in template:
        if isinstance(part, str):
            text += part
        else:
            text += f"{{{count}:{part.section}}}" if part.section else f"{{{count}}}"
            count += 1
    return text


def bare(text: str) -> str:
    """Without the sections of its holes."""
    return re.sub(r"\{(\d+):\w+\}", r"{\1}", text)


def is_said(template: Template) -> bool:
    return any(isinstance(part, str) and re.search(r"[^\W\d_]", part) for part in template)


@cache
def house() -> tuple[Source, ...]:
    return tuple(Source(path) for path in sorted((ROOT / "sdi").rglob("*.py")))


def kinds(of: type[SdiError] = SdiError) -> set[type[SdiError]]:
    return {of}.union(*map(kinds, of.__subclasses__()))


def constructions() -> Iterator[tuple[Section, Source, ast.expr]]:
    """Every expression that an error, a fault or a problem is made of."""
    errors = {each.__name__ for each in kinds()} - {"ContractError"}
    for source in house():
        for name, call in source.calls:
            if name in errors:
                yield "messages", source, call.args[0]
                yield from (("hints", source, given.value) for given in call.keywords if given.arg == "hint")
            elif name == "Fault":
                yield "faults", source, call.args[2]
            elif name == "Found" and source.name in EXAMINERS:
                yield from (("findings", source, text) for text in (call.args[0], call.args[2]))
                yield from (("hints", source, text) for text in call.args[3:])
            elif name == "DocumentError":
                yield "faults", source, call.args[1]
            elif name == "answer" and source.name.startswith("sdi/service/") and len(call.args) >= 4:
                yield "titles", source, call.args[2]
                yield "messages", source, call.args[3]
        if source.name.startswith("sdi/contract/"):
            yield from (("faults", source, text) for text in faults_of(source))


def faults_of(source: Source) -> Iterator[ast.expr]:
    """The sentences that become faults: `yield place, sentence`, and those of a code list, kept in `found`."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Yield(value=ast.Tuple(elts=[_, text])):
                yield text
            case ast.Call(func=ast.Attribute(attr="append", value=ast.Name(id="found")), args=[text]):
                yield text
            case ast.Return(value=ast.Tuple(elts=[ast.Constant(value=None), ast.List(elts=[text])])):
                yield text
            case ast.Assign(targets=[ast.Name(id="found")], value=ast.ListComp(elt=text)):
                yield text


@cache
def sentences() -> dict[str, dict[str, str]]:
    """Section -> sentence as the catalogue writes it -> where the source says it."""
    found: dict[str, dict[str, str]] = {section: {} for section in SENTENCES}
    found["titles"] = {each.title: each.__name__ for each in kinds()}
    for section, source, expression in constructions():
        try:
            templates = source.said(expression)
        except Value:
            continue  # see UNSAID
        for template in filter(is_said, templates):
            found[section].setdefault(written(template), f"{source.name}:{expression.lineno}")
    for (name, function), section in SPOKEN.items():
        [source] = [each for each in house() if each.name == name]
        templates = source.returned(function)
        assert templates, f"{name} has no {function}() any more: correct SPOKEN."
        found[section] = {written(template): f"{name} {function}()" for template in templates}
    return found


# --- the catalogue ------------------------------------------------------------------------------------------------


@cache
def catalogue() -> dict[str, dict[str, str]]:
    read: dict[str, Any] = json.loads(VIETNAMESE.read_text(encoding="utf-8"))
    phrases = read.pop("phrases")
    assert not set(phrases) & set(read)
    return {**read, **phrases}


def every() -> Iterator[tuple[str, str, str]]:
    return ((section, *pair) for section, pairs in catalogue().items() for pair in pairs.items())


def agree(told: list[str]) -> None:
    if told:
        pytest.fail("\n".join(["", *sorted(set(told))]), pytrace=False)


def test_the_walk_finds_the_sentences_of_the_whole_house() -> None:
    found = sentences()
    assert len(found["messages"]) > 250
    assert len(found["hints"]) > 130
    assert len(found["faults"]) > 50
    assert "There is no layer '{0}' in the file.{1:nearest}" in found["messages"]
    assert {"{0} declares no CRS.", "{0} declares {1}, which is no known grid."} <= set(found["messages"])
    assert "there is no {0} '{1}' in '{2}'.{3:nearest}" in found["faults"]


def test_every_sentence_of_the_source_has_its_vietnamese() -> None:
    known = {section: {bare(text): text for text in pairs} for section, pairs in catalogue().items()}
    told = []
    for section, said in sentences().items():
        for text, where in said.items():
            if bare(text) not in known[section]:
                told.append(f"{where}: {section} has no {json.dumps(text, ensure_ascii=False)}")
                continue
            for hole, kind in re.findall(r"\{(\d+):(\w+)\}", text):
                if f"{{{hole}:{kind}}}" not in known[section][bare(text)]:
                    told.append(f"{where}: {{{hole}}} of {text!r} is a phrase: write {{{hole}:{kind}}}")
    agree(told)


def test_no_sentence_of_the_catalogue_is_said_no_more() -> None:
    said = {section: {bare(text) for text in found} for section, found in sentences().items()}
    told = [
        f"{section}: nobody says {english!r}" for section, english, _ in every() if section not in FOREIGN
        if bare(english) not in said.get(section, set()) | BY_HAND.get(section, {}).keys()
    ]  # fmt: skip
    agree(told)
    for section, reasons in BY_HAND.items():
        assert reasons.keys() <= set(map(bare, catalogue()[section])), f"{section} of BY_HAND names what is gone"


def test_every_error_whose_sentence_is_no_expression_of_its_own_is_known() -> None:
    told = []
    for _, source, expression in constructions():
        try:
            source.said(expression)
        except Value as value:
            told.append(f"{source.name}: {value}")
    assert sorted(set(told)) == sorted(UNSAID)


UNSAID = {
    "sdi/diagnosis.py: '.'.join(map(str, sys.version_info[:3]))": "a version",
    "sdi/diagnosis.py: error.message": "an error's, as such",
    "sdi/diagnosis.py: error.hint": "an error's, as such",
    "sdi/store/check.py: ', '.join((OWNER, LOADER, READER))": "names of roles",
    "sdi/store/check.py: row[0]": "a version",
    "sdi/store/logins/service.py: _login(connection)": "a login's",
    "sdi/contract/codelist.py: message": "the sentences of _code() and _faults(), which are taken there",
    "sdi/contract/registry.py: error": "a DocumentError's",
    "sdi/contract/registry.py: text": "the sentences that the faults yield",
    "sdi/service/problems.py: SdiError.title": "a title of an error",
    "sdi/service/problems.py: HTTPStatus(error.status_code).phrase": "HTTP's own phrase for a status",
    "sdi/settings.py: '\\n'.join(faults)": "one line a variable",
}


def test_both_languages_are_filled_with_the_same() -> None:
    told = []
    for section, english, vietnamese in every():
        holes = [int(hole) for hole in re.findall(r"\{(\d+)(?::\w+)?\}", english)]
        if holes != list(range(len(holes))):
            told.append(f"{section}: the holes of {english!r} are not numbered in their order")
        if {str(hole) for hole in holes} != set(re.findall(r"\{(\w+)\}", vietnamese)):
            told.append(f"{section}: {vietnamese!r} is not filled with what {english!r} is filled with")
        if set(re.findall(r"\{\d+:(\w+)\}", english)) - set(catalogue()) - {"number"}:
            told.append(f"{section}: {english!r} names a section that is not there")
    agree(told)


def test_the_vietnamese_is_vietnamese_in_nfc() -> None:
    told = []
    for section, english, vietnamese in every():
        plain = re.sub(r"\{[^}]*\}", "", english)
        if not unicodedata.is_normalized("NFC", vietnamese):
            told.append(f"{section}: {vietnamese!r} is not in NFC")
        if re.search(r"[a-z]{2}", plain) and re.sub(r"\{[^}]*\}", "", vietnamese) == plain:
            told.append(f"{section}: {english!r} is not translated")
    agree(told)


# --- to and fro ---------------------------------------------------------------------------------------------------


def examples(english: str, vietnamese: str, letters: Iterator[str]) -> list[tuple[str, str]]:
    """A sentence filled with values, in both languages; each of its phrases once."""
    holes = re.findall(r"\{\d+(?::(\w+))?\}", english)
    choices = []
    for section in holes:
        if section in ("", "number"):
            street = f"Ngõ {next(letters)}"
            choices.append([("1,234.5", "1.234,5") if section else (street, street)])
        else:
            # A phrase that holds its own kind again is shown by the others.
            pairs = [pair for pair in catalogue()[section].items() if f":{section}}}" not in pair[0]]
            choices.append([example for pair in pairs for example in examples(*pair, letters)])
    spoken = []
    for count in range(max((len(choice) for choice in choices), default=1)):
        values = [choice[count % len(choice)] for choice in choices]
        spoken.append((bare(english).format(*(en for en, _ in values)), vietnamese.format(*(vi for _, vi in values))))
    return spoken


@pytest.mark.parametrize("section", SENTENCES)
def test_every_sentence_comes_back_as_itself(section: Section) -> None:
    letters = (f"{one}{two}" for one in string.ascii_uppercase * 99 for two in string.ascii_uppercase)
    told = [
        f"{section}: {said!r} became {translated(said, 'vi', section)!r}, not {meant!r}"
        for english, vietnamese in catalogue()[section].items()
        for said, meant in examples(english, vietnamese, letters) if translated(said, "vi", section) != meant
    ]  # fmt: skip
    agree(told)
    assert len(catalogue()[section]) > 10


def test_an_error_says_itself_in_either_language() -> None:
    near = nearest("road", ["roads"])
    error = UsageError(f"There is no layer 'road' in the file.{near}", hint="It has: roads, walls.")
    assert error.in_language("en") == (error.message, error.hint)
    assert error.in_language("vi") == (
        "Trong tệp không có lớp «road». Có phải ý bạn là «roads»?", "Hiện có: roads, walls.",
    )  # fmt: skip
    assert UsageError("A waiver needs a reason.").in_language("vi") == ("Cho qua phải kèm lý do.", None)


def test_an_error_that_the_house_raises_is_told_in_vietnamese() -> None:
    with pytest.raises(NotFound) as caught:
        read_registry(ROOT / "layers")["cadastral_parcel"]
    assert caught.value.in_language("vi") == (
        "Không có lớp dữ liệu «cadastral_parcel».", "Có phải ý bạn là «cadastral_parcels»?",
    )  # fmt: skip


def test_what_is_not_in_the_catalogue_is_shown_as_it_is() -> None:
    assert UsageError("Nobody wrote this.", hint="Nor this.").in_language("vi") == ("Nobody wrote this.", "Nor this.")
    assert translated("There is no file x", "vi") == "There is no file x", "the point at its end is part of it"


def test_a_value_that_looks_like_a_sentence_stays_as_it_is() -> None:
    inner = "It has no GeoTIFF. Did you mean 'y'?"
    assert translated(f"There is no file {inner}.", "vi") == f"Không có tệp {inner}."
    sly = "a' here. Did you mean 'b'?"
    assert translated(f"There is no parameter '{sly}' here.", "vi") == f"Ở đây không có tham số «{sly}»."


def test_a_value_of_any_length_is_no_riddle() -> None:
    """A regular expression would try every place of ` is `, four deep."""
    long = " is ' is a ' is" * 20_000
    assert translated(f"'{long}' is not a day.", "vi") == f"«{long}» không phải là ngày."
    assert translated(f"'{long} needs alike", "vi") == f"'{long} needs alike"


def test_each_wrong_setting_is_a_line_of_its_own() -> None:
    text = "SDI_POOL_SIZE: Input should be greater than or equal to 1\nSDI_URL: Field required"
    assert translated(text, "vi") == "SDI_POOL_SIZE: Giá trị phải lớn hơn hoặc bằng 1\nSDI_URL: Thiếu mục bắt buộc"


def test_the_faults_of_contracts_are_told_in_vietnamese_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "trees.yaml").write_text("id: trees\nkindd: features\nversion: one\n", encoding="utf-8")
    (tmp_path / "walls.yaml").write_text("id: [\n", encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        read_registry(tmp_path)
    told, hint = caught.value.in_language("vi")
    assert hint is None
    lines = told.split("\n")
    assert len(lines) == len(caught.value.faults)
    assert "trees.yaml:2: «kindd» không phải là từ của hợp đồng dữ liệu. Có phải ý bạn là «kind»?" in lines
    assert "trees.yaml:1: title: Thiếu mục bắt buộc" in lines
    assert any(line.startswith("walls.yaml:2: không phải là YAML") for line in lines)
    assert (
        ContractError([Fault("a.yaml", 3, "must be a mapping")]).in_language("en")[0] == "a.yaml:3: must be a mapping"
    )


# --- where people read it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "message", "hint"),
    [
        ("vi", "✗ Không có lớp dữ liệu «cadastral_parcel».", "→ Có phải ý bạn là «cadastral_parcels»?"),
        ("en", "✗ There is no layer 'cadastral_parcel'.", "→ Did you mean 'cadastral_parcels'?"),
    ],
)
def test_the_terminal_speaks_the_language_of_its_setting(
    language: str, message: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdi", "--lang", language, "layers", "show", "cadastral_parcel"])
    monkeypatch.setenv("SDI_LAYERS", str(ROOT / "layers"))
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == NotFound.exit_code
    assert [line.strip() for line in capsys.readouterr().err.splitlines()] == [message, hint]


def asked(query: str = "", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": pairs})


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", None, "en"), ("", "*", "en"), ("", "de", "en"), ("", "en", "en"), ("", "en, vi;q=0.5", "en"),
        ("", "vi", "vi"), ("", "vi-VN,vi;q=0.9,en;q=0.8", "vi"), ("", "fr, vi;q=0.2", "vi"), ("", "vi;q=0", "en"),
        ("lang=vi", None, "vi"), ("lang=vi", "en", "vi"), ("lang=vi_VN", None, "vi"), ("lang=en", "vi", "en"),
        ("lang=fr", None, "en"), ("lang=fr", "vi", "vi"),
    ],
)  # fmt: skip
def test_a_machine_is_told_in_english_unless_it_asks_otherwise(query: str, header: str | None, language: str) -> None:
    request = asked(query, **({"Accept_Language": header} if header else {}))
    answer = problems.of_error(request, UsageError("f: 'x' is not offered here.", hint="One of: json, html"))
    told = {
        "en": ("Wrong usage", "f: 'x' is not offered here. One of: json, html"),
        "vi": ("Dùng sai", "f: ở đây không có định dạng «x». Một trong: json, html"),
    }
    problem = json.loads(answer.body)
    assert (problem["title"], problem["detail"]) == told[language]
    assert answer.headers["Content-Language"] == language
    assert answer.media_type == "application/problem+json"


def test_a_problem_that_is_no_error_of_ours_is_told_in_vietnamese_too() -> None:
    problem = json.loads(problems.answer(asked("lang=vi"), 401, "Unauthorized", "The key opens nothing.").body)
    assert (problem["title"], problem["detail"]) == ("Chưa xác thực", "Khóa này không có hiệu lực.")
    bug = json.loads(problems.of_bug(asked("lang=vi"), "0a1b").body)
    assert bug["title"] == "Lỗi nội bộ"
    assert bug["detail"].endswith(" 0a1b")


def test_what_is_wrong_with_the_house_itself_gets_no_hint() -> None:
    told = SdiError("The database cannot be reached.", hint="Run 'sdi doctor'.")
    problem = json.loads(problems.of_error(asked("lang=vi"), told).body)
    assert problem["detail"] == "Không kết nối được cơ sở dữ liệu."
