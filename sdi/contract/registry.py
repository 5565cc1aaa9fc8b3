"""All contracts at once: read, checked against each other, and refused with every fault's file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from sdi.contract.codelist import CodeList, read_code_list
from sdi.contract.layer import Attribute, Layer
from sdi.errors import ContractError, Fault, NotFound, nearest


@dataclass(frozen=True)
class Registry:
    """The layers and code lists of one deployment, by id."""

    folder: Path
    layers: dict[str, Layer] = field(default_factory=dict)
    code_lists: dict[str, CodeList] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> Layer:
        if layer not in self.layers:
            raise NotFound(f"There is no layer '{layer}'.", hint=nearest(layer, self.layers).strip() or None)
        return self.layers[layer]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    def derived_in_order(self) -> list[Layer]:
        """The derived layers, each after those it is made from."""
        ordered: list[Layer] = []

        def place(layer: Layer) -> None:
            if layer in ordered or layer.derived is None:
                return
            for source in layer.derived.inputs:
                place(self.layers[source.layer])
            ordered.append(layer)

        for layer in self:
            place(layer)
        return ordered

    def sql(self, layer: Layer) -> str:
        """The text of a derived layer's SQL file."""
        assert layer.derived is not None
        return (self.folder / layer.derived.sql).read_text(encoding="utf-8")


def read_registry(folder: Path) -> Registry:
    """Read every contract below a folder. Raises ContractError with all faults at once."""
    code_lists: dict[str, CodeList] = {}
    faults: list[Fault] = []
    for path in sorted((folder / "code_lists").glob("*.csv")):
        code_lists[path.stem], found = read_code_list(path)
        faults += found
    sources: dict[str, tuple[str, Any]] = {}
    layers: dict[str, Layer] = {}
    for path in sorted(folder.glob("*.yaml")):
        layer, tree, found = _read_layer(path)
        faults += found
        if layer is not None:
            layers[layer.id] = layer
            sources[layer.id] = (path.name, tree)
    registry = Registry(folder, layers, code_lists)
    for layer in layers.values():
        name, tree = sources[layer.id]
        faults += [Fault(name, _line(tree, place), message) for place, message in _faults(layer, registry, name)]
    if faults:
        raise ContractError(faults)
    return registry


def _read_layer(path: Path) -> tuple[Layer | None, Any, list[Fault]]:
    try:
        # YAML 1.2 keeps `no` a word; an unquoted code such as 01234 becomes a number, which the contract's types refuse.
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return None, None, [Fault(path.name, line, f"is not YAML: {error.problem}")]
    except UnicodeDecodeError:
        return None, None, [Fault(path.name, 1, "is not UTF-8")]
    if not isinstance(tree, CommentedMap):
        return None, None, [Fault(path.name, 1, "must be a mapping")]
    try:
        return Layer.model_validate(_plain(tree)), tree, []
    except ValidationError as errors:
        return None, tree, [_fault(path.name, tree, error) for error in errors.errors()]


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return str(node) if isinstance(node, str) else node


def _line(tree: Any, place: Iterable[str | int]) -> int:
    """The line (from 1) of the deepest node of a path that the file has."""
    line = 1
    for step in place:
        try:
            position = tree.lc.key(step) if isinstance(tree, CommentedMap) else tree.lc.item(step)
            line, tree = position[0] + 1, tree[step]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line


def _fault(name: str, tree: Any, error: Any) -> Fault:
    place = error["loc"]
    where = ".".join(map(str, place))
    if error["type"] == "extra_forbidden":
        message = f"'{where}' is not a word of the contract.{nearest(str(place[-1]), _words(place))}"
    elif error["type"] == "literal_error":
        expected = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        message = f"{where}: '{error['input']}' is not allowed.{nearest(str(error['input']), expected)}"
    else:
        message = f"{where}: {error['msg'].removeprefix('Value error, ')}"
    return Fault(name, _line(tree, place), message)


def _words(place: tuple[str | int, ...]) -> list[str]:
    """The words allowed where a path's last word stands."""
    model: Any = Layer
    for step in place[:-1]:
        if isinstance(step, int) or model is None:
            continue
        annotation = model.model_fields[step].annotation if step in getattr(model, "model_fields", {}) else None
        model = next(iter(_models(annotation)), None)
    return list(model.model_fields) if model else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


Found = Iterator[tuple[tuple[str | int, ...], str]]


def _faults(layer: Layer, registry: Registry, file: str) -> Found:
    """What a contract gets wrong about itself, the code lists, the rules or other layers."""
    if Path(file).stem != layer.id:
        yield ("id",), f"id '{layer.id}' must be the file's name"
    yield from _faults_of_kind(layer)
    names = [attribute.name for attribute in layer.attributes]
    for index, attribute in enumerate(layer.attributes):
        if names.index(attribute.name) != index or attribute.name in RESERVED:
            why = "is a reserved name" if attribute.name in RESERVED else "stands twice"
            yield ("attributes", index, "name"), f"attribute '{attribute.name}' {why}"
        yield from _faults_of_attribute(attribute, ("attributes", index), registry)
        yield from _unknown(fields_of(attribute.template), names, ("attributes", index, "template"), "attribute")
    yield from _faults_of_names(layer, names)
    if layer.derived is not None:
        yield from _faults_of_derived(layer, registry)
    if layer.coverage is not None:
        for index, statistic in enumerate(layer.coverage.statistics):
            yield from _unknown([statistic.layer], registry.layers, ("coverage", "statistics", index, "layer"), "layer")


RESERVED = frozenset({"id", "geom", "geom_wgs84", "row_hash", "load_id", "subject_id", "source_row"})
"""Columns that every table has."""


def fields_of(template: str | None) -> list[str]:
    """The attribute names in a template."""
    return re.findall(r"\{(\w+)\}", template or "")


def _unknown(names: Iterable[str | None], known: Iterable[str], place: tuple[str | int, ...], what: str) -> Found:
    known = list(known)
    for name in names:
        if name is not None and name not in known:
            yield place, f"there is no {what} '{name}'.{nearest(name, known)}"


def _faults_of_kind(layer: Layer) -> Found:
    needs = {"features": ("geometry", "identifier"), "derived": ("geometry", "derived"), "coverage": ("coverage",)}
    for part in needs[layer.kind]:
        if getattr(layer, part) is None:
            yield ("kind",), f"a layer of kind '{layer.kind}' needs '{part}'"
    for part in {"derived", "coverage"} - set(needs[layer.kind]):
        if getattr(layer, part) is not None:
            yield (part,), f"a layer of kind '{layer.kind}' has no '{part}'"
    if layer.identifier is not None and (layer.identifier.attribute is None) == (layer.identifier.template is None):
        yield ("identifier",), "the identifier needs either 'attribute' or 'template'"


def _faults_of_attribute(attribute: Attribute, place: tuple[str | int, ...], registry: Registry) -> Found:
    if (attribute.type == "code") != (attribute.code_list is not None):
        yield place, f"attribute '{attribute.name}': type 'code' and 'code_list' go together"
    lists = [attribute.code_list] + [item.code_list for item in attribute.items or []]
    yield from _unknown(lists, registry.code_lists, (*place, "code_list"), "code list")
    if (attribute.type == "list") != (attribute.items is not None):
        yield place, f"attribute '{attribute.name}': type 'list' and 'items' go together"
    yield from _unknown([attribute.refers_to], registry.layers, (*place, "refers_to"), "layer")
    if attribute.pattern is not None:
        try:
            re.compile(attribute.pattern)
        except re.error as error:
            yield (*place, "pattern"), f"is not a regular expression: {error}"


def _faults_of_names(layer: Layer, names: list[str]) -> Found:
    if layer.identifier is not None:
        used = [layer.identifier.attribute, *fields_of(layer.identifier.template)]
        yield from _unknown(used, names, ("identifier",), "attribute")
    if layer.temporal is not None:
        used = [layer.temporal.start, layer.temporal.end, layer.temporal.instant]
        yield from _unknown(used, names, ("temporal",), "attribute")
    yield from _unknown([layer.load.scope], names, ("load", "scope"), "attribute")
    yield from _unknown([layer.frame], names, ("frame",), "attribute")
    yield from _unknown([layer.style.label], names, ("style", "label"), "attribute")
    yield from _unknown([layer.style.classify], names, ("style", "classify"), "attribute")


def _faults_of_derived(layer: Layer, registry: Registry) -> Found:
    derived = layer.derived
    assert derived is not None
    yield from _unknown([derived.subject], registry.layers, ("derived", "subject"), "layer")
    for index, source in enumerate(derived.inputs):
        place = ("derived", "inputs", index)
        yield from _unknown([source.layer], registry.layers, (*place, "layer"), "layer")
        if ("key" in source.by) != bool(source.key):
            yield place, "'by: [key]' and 'key' go together"
        if source.key and source.layer in registry.layers and derived.subject in registry.layers:
            yield from _unknown(source.key, registry.layers[source.layer].by_name, (*place, "key"), "attribute")
            subject = registry.layers[derived.subject].by_name
            yield from _unknown(source.key.values(), subject, (*place, "key"), "attribute")
    if not (registry.folder / derived.sql).is_file():
        yield ("derived", "sql"), f"there is no file '{derived.sql}' beside the contracts"
    if _circular(layer.id, registry):
        yield ("derived", "inputs"), f"'{layer.id}' is made from itself"


def _circular(layer: str, registry: Registry) -> bool:
    seen: set[str] = set()

    def reach(name: str) -> None:
        found = registry.layers.get(name)
        if found is None or found.derived is None:
            return
        for source in found.derived.inputs:
            if source.layer not in seen:
                seen.add(source.layer)
                reach(source.layer)

    reach(layer)
    return layer in seen
