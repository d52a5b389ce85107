"""
Turn TOML tables into typed values. All errors of a file are reported together, each with its location.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

T = TypeVar("T")

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """
    One error in a file.

    Attributes:
        place: Path of the key, such as ``backend[0].url``; empty if the error is about the file, which the message then
            names.
        told: The place as shown to the operator: ``[[backend]] "a": url``.
    """

    place: str
    message: str
    told: str = dataclasses.field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.told or self.place}: {self.message}" if self.place else self.message

    def told_of(self, path: Path) -> str:
        """
        Return the error as text, with the name of its file.
        """
        return f"{path}: {self}" if self.place else self.message


class Faults(Exception):
    """
    All errors of a file.

    Attributes:
        path: The file; None if it is unknown, or if there is none.
    """

    def __init__(self, faults: Iterable[Fault], path: Path | None = None) -> None:
        self.faults = tuple(faults)
        self.path = path
        super().__init__("\n".join(map(str, self.faults)))

    @property
    def told(self) -> list[str]:
        """
        Each error as text, with the name of its file if that is known.
        """
        return [str(fault) if self.path is None else fault.told_of(self.path) for fault in self.faults]


class NotAccepted(ValueError):
    """
    An option does not accept a value. The text says what is wrong, if the option's `accepted` does not.
    """


@dataclass(frozen=True, slots=True)
class Kind:
    """
    The values that an option accepts.

    Attributes:
        accepted: The accepted values, as text for error messages and the reference.
        parse: Returns the option's value for a TOML value; raises `NotAccepted`.
        unit: The unit of a number: ``seconds`` or ``bytes``; empty if there is none.
        is_secret: Whether the value must never be shown.
        item: The values that the items of a list may have.
        words: All accepted values, if they are a few words.
    """

    accepted: str
    parse: Callable[[Any], Any]
    unit: str = ""
    is_secret: bool = False
    item: Kind | None = None
    words: tuple[str, ...] = ()


def option(
    kind: Kind, about: str, default: Any = _REQUIRED, *, told: str | None = None, is_shared: bool = False
) -> Any:
    """
    Return a dataclass field that declares an option.

    Args:
        about: What the option does: a sentence of the reference.
        told: The default as text for the reference, if the value itself says too little.
        is_shared: Whether it is a limit that the worker processes share.
    """
    metadata = {"kind": kind, "about": about, "told": told, "is_shared": is_shared}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata, repr=not kind.is_secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not kind.is_secret)


@dataclass(frozen=True, slots=True)
class Option:
    """
    An option as the reference describes it.
    """

    name: str
    kind: Kind
    about: str
    default: Any
    told: str | None
    is_shared: bool

    @property
    def is_required(self) -> bool:
        """
        Whether a table must have this option.
        """
        return self.default is _REQUIRED

    @property
    def default_text(self) -> str:
        """
        The default as text, in the notation of the file.
        """
        if self.told is not None:
            return self.told
        if self.is_required:
            return "required"
        if self.default is None or self.default == ():
            return "none"
        if self.kind.unit == "bytes":
            return format_size(self.default)
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ", ".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def options_of(table: type) -> list[Option]:
    """
    Return the options of a table, in the order in which they are declared.
    """
    return [
        Option(
            field.name,
            field.metadata["kind"],
            field.metadata["about"],
            _REQUIRED if field.default is dataclasses.MISSING else field.default,
            field.metadata["told"],
            field.metadata["is_shared"],
        )
        for field in dataclasses.fields(table)
        if "kind" in field.metadata
    ]


# Kinds


def choice(*words: str, accepted: str = "") -> Kind:
    """
    Return the kind of an option that is one of some words.

    Args:
        accepted: A description of the words, if they are too many to list.
    """

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise NotAccepted
        return value

    return Kind(accepted or " | ".join(f'"{word}"' for word in words), parse, words=words)


def choice_of(words: type[StrEnum]) -> Kind:
    """
    Return the kind of an option that is one word of an enumeration. The parsed value is the member.
    """
    by_name = choice(*words)
    return dataclasses.replace(by_name, parse=lambda value: words(by_name.parse(value)))


def text(accepted: str, check: Callable[[str], None] | None = None, *, is_secret: bool = False) -> Kind:
    """
    Return the kind of printable text. A check may restrict it further, by raising `NotAccepted`.
    """

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise NotAccepted
        if check is not None:
            check(value)
        return value

    return Kind(accepted, parse, is_secret=is_secret)


def list_of(kind: Kind, *, at_least: int = 0) -> Kind:
    """
    Return the kind of a list of values of one kind.
    """

    def parse(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) < at_least:
            raise NotAccepted
        return tuple(kind.parse(item) for item in value)

    few = f" of at least {at_least}" if at_least else ""
    return Kind(f"a list{few}: {kind.accepted}", parse, kind.unit, kind.is_secret, item=kind)


def one_or_list_of(kind: Kind) -> Kind:
    """
    Return the kind of one value or a list of values. The parsed value is a tuple in both cases.
    """
    several = list_of(kind, at_least=1)

    def parse(value: Any) -> tuple[Any, ...]:
        return several.parse(value) if isinstance(value, list) else (kind.parse(value),)

    return Kind(f"{kind.accepted}; or a list of at least 1", parse, kind.unit, kind.is_secret, item=kind)


def boolean() -> Kind:
    """
    Return the kind of true or false.
    """

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise NotAccepted
        return value

    return Kind("true | false", parse)


def count(least: int, most: int) -> Kind:
    """
    Return the kind of a whole number.
    """

    def parse(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise NotAccepted
        return value

    return Kind(f"a whole number from {least} to {most}", parse)


def seconds(least: float, most: float) -> Kind:
    """
    Return the kind of a duration in seconds.
    """

    def parse(value: Any) -> float:
        # A NaN is not between any two numbers.
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise NotAccepted
        return float(value)

    return Kind(f"a number of seconds from {least:g} to {_format_seconds(most)}", parse, unit="seconds")


def _format_seconds(number: float) -> str:
    days = number / 86400
    return f"{number:.0f} ({days:g} days)" if days > 1 else f"{number:g}"


def size(least: int, most: int) -> Kind:
    """
    Return the kind of a number of bytes, also as text with a unit: ``"64 KiB"``.
    """

    def parse(value: Any) -> int:
        if isinstance(value, str):
            found = re.fullmatch(r"([0-9]{1,19}) ?([A-Za-z]*)", value, re.ASCII)
            if found is None:
                raise NotAccepted
            digits, unit = found.groups()
            if unit not in _UNITS:
                raise NotAccepted(f"the unit must be one of {', '.join(_UNITS)}")
            value = int(digits) * _UNITS[unit]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise NotAccepted
        return value

    accepted = f'bytes from {format_size(least)} to {format_size(most)}, as a number or as text like "64 KiB"'
    return Kind(accepted, parse, unit="bytes")


def counted(number: int, noun: str) -> str:
    """
    Return a number with its noun, in the plural unless the number is one.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_size(number: int) -> str:
    """
    Return a number of bytes as text, with the largest unit that divides it.
    """
    if number:
        for unit in ("GiB", "MiB", "KiB"):
            if number % _UNITS[unit] == 0:
                return f"{number // _UNITS[unit]} {unit}"
    return str(number)


def accepted_names(value: str, names: Iterable[str]) -> str:
    """
    Return the message for a value that is not among the names in the file.
    """
    names = tuple(dict.fromkeys(names))
    accepted = " | ".join(f'"{name}"' for name in names) or "none, because none is defined"
    return f'"{value}" is not accepted{nearest(value, names)}; accepted: {accepted}'


_IN_TABLE = re.compile(r"(\w+)\[(\d+)\](?:\.(.+))?")
_NAMES = ("name", "endpoint", "access_key_id")


def named_faults(faults: Iterable[Fault], content: Mapping[str, Any]) -> list[Fault]:
    """
    Return errors whose `told` names the table in a list of tables: by its name, or by its number from 1 if it has no
    unique name.
    """
    return [dataclasses.replace(fault, told=_told_place(fault.place, content)) for fault in faults]


def _told_place(place: str, content: Mapping[str, Any]) -> str:
    found = _IN_TABLE.fullmatch(place)
    tables = content.get(found[1]) if found is not None else None
    if found is None or not isinstance(tables, list) or int(found[2]) >= len(tables):
        return place
    table = tables[int(found[2])]
    name = _name_of(table)
    is_good = isinstance(name, str) and name.isprintable() and len(name) <= 80
    is_only = is_good and sum(_name_of(each) == name for each in tables) == 1
    shown = f'"{name}"' if is_only else f"{int(found[2]) + 1}"
    return f"[[{found[1]}]] {shown}" + (f": {found[3]}" if found[3] else "")


def _name_of(table: Any) -> Any:
    return next((table[each] for each in _NAMES if each in table), None) if isinstance(table, dict) else None


# Reading


def read_toml(path: Path, max_size: int, purpose: str = "") -> dict[str, Any]:
    """
    Read a file as TOML.

    Args:
        max_size: Maximum bytes of the file; a larger file is an error.
        purpose: What the file is, for the message if it cannot be read.

    Raises:
        Faults: The file cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_size + 1)
        if len(content) > max_size:
            raise Faults([Fault("", f"{path}: larger than {format_size(max_size)}")])
        return tomllib.loads(content.decode())
    except OSError as error:
        of_purpose = f" ({purpose})" if purpose else ""
        raise Faults([Fault("", f"{path}: {os.strerror(error.errno or 0)}{of_purpose}")]) from None
    except UnicodeDecodeError:
        raise Faults([Fault("", f"{path}: not UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise Faults([Fault("", f"{path}: not TOML: {error}")]) from None


def structure(table: type[T], content: Mapping[str, Any], place: str = "") -> T:
    """
    Return a dataclass of options, or of tables of options, from the content of a TOML file.

    Args:
        place: Path of the content within its file.

    Raises:
        Faults: All values that the options do not accept.
    """
    try:
        return _converter_for(table).structure(content, table)
    except (ClassValidationError, IterableValidationError) as error:
        raise Faults(sorted(_faults_in(error, place))) from None


_converter = Converter(detailed_validation=True)
_known: set[type] = set()


def _converter_for(table: type) -> Converter:
    """
    Return the converter, after registering a table and all tables within it.
    """
    if table in _known:
        return _converter
    hints = get_type_hints(table)
    overrides = {}
    for field in dataclasses.fields(table):
        kind = field.metadata.get("kind")
        if kind is not None:
            overrides[field.name] = override(struct_hook=_value_hook(kind))
            continue
        inner = hints[field.name]
        if get_origin(inner) is tuple:
            _converter_for(get_args(inner)[0])
            overrides[field.name] = override(struct_hook=_tables_hook(get_args(inner)[0]))
        else:
            _converter_for(inner)
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        table,
        _converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **cast(Any, overrides),
    )

    def read_table(content: Any, of: Any) -> Any:
        if not isinstance(content, dict):
            raise NotAccepted("must be a table")
        return read(content, of)

    _converter.register_structure_hook(table, read_table)
    _known.add(table)
    return _converter


def _value_hook(kind: Kind) -> Callable[[Any, Any], Any]:
    def read(value: Any, of: Any) -> Any:
        try:
            return kind.parse(value)
        except NotAccepted as error:
            if kind.item is not None and isinstance(value, list) and value:
                raise Faults(_item_faults(kind.item, value)) from None
            raise NotAccepted(_complaint(kind, value, error)) from None

    return read


def _item_faults(kind: Kind, values: list[Any]) -> Iterable[Fault]:
    for index, value in enumerate(values):
        try:
            kind.parse(value)
        except NotAccepted as error:
            yield Fault(f"[{index}]", _complaint(kind, value, error))


def _complaint(kind: Kind, value: Any, error: NotAccepted) -> str:
    shown = "this value" if kind.is_secret else _shown(value)
    why = f" ({error})" if str(error) else ""
    meant = nearest(value, kind.words) if isinstance(value, str) else ""
    return f"{shown} is not accepted{why}{meant}; accepted: {kind.accepted}"


def _tables_hook(table: type) -> Callable[[Any, Any], Any]:
    def read(content: Any, of: Any) -> Any:
        if not isinstance(content, list):
            raise NotAccepted("must be a list of tables ([[...]] in TOML)")
        return _converter.structure(content, tuple[table, ...])  # type: ignore[valid-type]

    return read


def _shown(value: Any) -> str:
    shown = f'"{value}"' if isinstance(value, str) else _as_toml(value)
    if not shown.isprintable():
        shown = ascii(value)
    # A URL may contain a password.
    shown = re.sub(r"//.*@", "//...@", shown)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return _shown(value) if isinstance(value, str) else str(value)


def nearest(name: str, names: Iterable[str]) -> str:
    """
    Return a question that suggests the most similar of some names; empty if none is similar.
    """
    found = get_close_matches(name, names, 1, 0.7)
    return f' (did you mean "{found[0]}"?)' if found else ""


def _faults_in(error: BaseException, place: str) -> Iterable[Fault]:
    if isinstance(error, IterableValidationError):
        for inner, index in error.group_exceptions()[0]:
            yield from _faults_in(inner, f"{place}[{index.index}]")
    elif isinstance(error, ClassValidationError):
        fields, others = error.group_exceptions()
        for inner, field in fields:
            yield from _faults_in(inner, f"{place}.{field.name}" if place else field.name)
        for inner in others:
            yield from _faults_in(inner, place)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            shown = name if name.isprintable() else ascii(name)
            known = [field.name for field in dataclasses.fields(error.cl)]
            told = f"unknown name{nearest(name, known)}; accepted: {', '.join(known)}"
            yield Fault(f"{place}.{shown}" if place else shown, told)
    elif isinstance(error, Faults):
        for fault in error.faults:
            yield Fault(place + fault.place, fault.message)
    elif isinstance(error, KeyError):
        yield Fault(place, "missing required option")
    else:
        yield Fault(place, str(error))
