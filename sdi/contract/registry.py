"""All contracts at once: read, checked against each other, and refused with every fault's file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from sdi.contract.codelist import CodeList, read_code_list
from sdi.contract.document import Document, DocumentError, read_document
from sdi.contract.faults import faults as faults_of
from sdi.contract.faults import fields_of as fields_of
from sdi.contract.layer import Layer, Text
from sdi.errors import ContractError, Fault, NotFound, nearest

_TITLES = TypeAdapter(dict[str, Text])


@dataclass(frozen=True)
class Registry:
    """The layers and code lists of one deployment, by id."""

    folder: Path
    layers: dict[str, Layer] = field(default_factory=dict)
    code_lists: dict[str, CodeList] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    """Ids of files whose contract or list could not be read; empty once `read_registry` has returned."""

    def __getitem__(self, layer: str) -> Layer:
        if layer not in self.layers:
            raise NotFound(
                f"There is no layer '{layer}'.", hint=nearest(layer, self.layers).strip() or "See 'sdi layers list'."
            )
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
    """Read every contract below a folder. Raises ContractError with all faults at once.

    A layer that is classified by a code and gives no colours of its own takes those of the code list.
    """
    code_lists, faults = _read_code_lists(folder / "code_lists")
    unreadable = {Path(fault.file).stem for fault in faults}
    documents: dict[str, Document] = {}
    layers: dict[str, Layer] = {}
    for path in sorted(folder.glob("*.yaml")):
        layer, document, found = _read_layer(path)
        faults += found
        if layer is None or document is None:
            unreadable.add(path.stem)
        else:
            layers[path.stem], documents[path.stem] = layer, document
    registry = Registry(folder, layers, code_lists, frozenset(unreadable))
    for stem, layer in layers.items():
        name = f"{stem}.yaml"
        faults += [Fault(name, documents[stem].line(place), text) for place, text in faults_of(layer, name, registry)]
    if faults:
        raise ContractError(faults)
    read = {layer.id: _coloured(layer, code_lists) for layer in layers.values()}
    for layer in read.values():
        layer._others.layers = read
    return replace(registry, layers=read)


def _read_code_lists(folder: Path) -> tuple[dict[str, CodeList], list[Fault]]:
    code_lists: dict[str, CodeList] = {}
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.csv")):
        code_lists[path.stem], found = read_code_list(path)
        faults += found
    if (folder / "titles.yaml").is_file():
        faults += _titled(code_lists, folder / "titles.yaml")
    return code_lists, faults


def _titled(code_lists: dict[str, CodeList], path: Path) -> list[Fault]:
    """Give the lists their titles; what is wrong with these."""
    name = f"{path.parent.name}/{path.name}"
    document = _read_mapping(path, name)
    if isinstance(document, Fault):
        return [document]
    try:
        titles = _TITLES.validate_python(document.value)
    except ValidationError as errors:
        return [_fault(name, document, error) for error in errors.errors()]
    known = {each: replace(code_lists[each], title=title) for each, title in titles.items() if each in code_lists}
    code_lists.update(known)
    return [
        Fault(name, document.line([each]), f"a title of no code list: '{each}'.{nearest(each, code_lists)}")
        for each in titles if each not in code_lists
    ]  # fmt: skip


def _coloured(layer: Layer, code_lists: dict[str, CodeList]) -> Layer:
    classified = layer.by_name.get(layer.style.classify or "")
    if classified is None or classified.code_list is None or layer.style.colours:
        return layer
    colours = {code.code: code.colour for code in code_lists[classified.code_list].codes if code.colour is not None}
    return layer.model_copy(update={"style": layer.style.model_copy(update={"colours": colours})})


def _read_mapping(path: Path, name: str) -> Document | Fault:
    """`name`: of the file, as faults tell it."""
    try:
        document = read_document(path.read_text(encoding="utf-8"))
    except DocumentError as error:
        return Fault(name, error.line, str(error))
    except UnicodeDecodeError:
        return Fault(name, 1, "is not UTF-8")
    return document if isinstance(document.value, dict) else Fault(name, 1, "must be a mapping")


def _read_layer(path: Path) -> tuple[Layer | None, Document | None, list[Fault]]:
    document = _read_mapping(path, path.name)
    if isinstance(document, Fault):
        return None, None, [document]
    try:
        return Layer.model_validate(document.value), document, []
    except ValidationError as errors:
        return None, document, [_fault(path.name, document, error) for error in errors.errors()]


def _fault(name: str, document: Document, error: Any) -> Fault:
    place = error["loc"]
    where = ".".join(map(str, place))
    if error["type"] == "extra_forbidden":
        message = f"'{where}' is not a word of the contract.{nearest(str(place[-1]), _words(place))}"
    elif error["type"] == "literal_error":
        expected = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        message = f"{where}: '{error['input']}' is not allowed.{nearest(str(error['input']), expected)}"
    else:
        message = f"{where}: {error['msg'].removeprefix('Value error, ')}"
    return Fault(name, document.line(place), message)


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
