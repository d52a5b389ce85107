from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from s3proxy.configuration.tables import (
    Fault,
    Faults,
    Kind,
    NotAccepted,
    boolean,
    choice,
    count,
    format_size,
    list_of,
    option,
    options_of,
    read_toml,
    seconds,
    size,
    structure,
    text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fruit:
    name: str = option(text("a name"), "What it is called.")
    weight: int = option(size(0, 1024**3), "How heavy it is.", 65536)
    ripens: float = option(seconds(0, 60), "How long it takes.", 2.0)
    colours: tuple[str, ...] = option(list_of(choice("red", "green")), "What it looks like.", ())
    pips: int = option(count(0, 9), "How many.", 3)
    sweet: bool = option(boolean(), "Whether it is.", default=True)
    stone: str | None = option(text("a secret", is_secret=True), "What it hides.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    fruit: tuple[Fruit, ...] = ()
    best: Fruit = field(default_factory=lambda: Fruit(name="apple"))


def faults_of(content: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Faults) as raised:
        structure(Basket, content)
    return {fault.place: fault.message for fault in raised.value.faults}


def test_every_value_of_the_right_kind_is_taken() -> None:
    """
    The value has what the file says, and the default for what it does not say.
    """
    fruit = {
        "name": "plum",
        "weight": "2 KiB",
        "ripens": 7,
        "colours": ["red"],
        "pips": 1,
        "sweet": False,
        "stone": "x",
    }

    basket = structure(Basket, {"fruit": [fruit, {"name": "fig"}]})

    assert basket.fruit == (
        Fruit(name="plum", weight=2048, ripens=7.0, colours=("red",), pips=1, sweet=False, stone="x"),
        Fruit(name="fig"),
    )
    assert basket.best == Fruit(name="apple")


def test_all_faults_are_told_at_once() -> None:
    """
    One run reports everything that is wrong, each with the path of its key and what is accepted there.
    """
    faults = faults_of(
        {
            "best": {"name": "", "weight": True, "colour": 1},
            "fruit": [{"name": "fig", "colours": ["red", "blue", 3]}, {"pips": 10}, "pear"],
            "basket": {},
        }
    )

    assert set(faults) == {
        "best.name",
        "best.weight",
        "best.colour",
        "fruit[0].colours[1]",
        "fruit[0].colours[2]",
        "fruit[1].name",
        "fruit[1].pips",
        "fruit[2]",
        "basket",
    }
    assert faults["fruit[0].colours[1]"] == '"blue" is not accepted; accepted: "red" | "green"'
    assert faults["fruit[1].name"] == "missing required option"
    assert faults["fruit[1].pips"] == "10 is not accepted; accepted: a whole number from 0 to 9"
    assert faults["basket"] == "unknown name; accepted: fruit, best"
    assert faults["fruit[2]"] == "must be a table"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("name", "two\nlines"),
        ("weight", -1),
        ("weight", 1.5),
        ("weight", "64 kB"),
        ("weight", "64"),
        ("weight", "-1 KiB"),
        ("weight", "KiB"),
        ("weight", "2 GiB"),
        ("weight", "٣ KiB"),
        ("ripens", float("nan")),
        ("ripens", float("inf")),
        ("ripens", 61),
        ("ripens", "1"),
        ("ripens", True),
        ("colours", "red"),
        ("colours", {"red": 1}),
        ("pips", 1.0),
        ("pips", True),
        ("sweet", 1),
        ("sweet", "true"),
    ],
)
def test_what_is_nearly_right_is_a_fault(name: str, value: object) -> None:
    """
    Nothing is converted silently: a value has its option's type, or is an error.
    """
    faults = faults_of({"best": {"name": "apple"} | {name: value}})

    assert list(faults) == [f"best.{name}"]
    assert "accepted: " in faults[f"best.{name}"]


@pytest.mark.parametrize("content", [{"fruit": {}}, {"fruit": "fig"}, {"best": []}, {"best": 1}])
def test_a_table_in_the_wrong_place_is_a_fault(content: dict[str, Any]) -> None:
    """
    ``[fruit]`` instead of ``[[fruit]]``, or the reverse, is reported.
    """
    faults = faults_of(content)

    assert list(faults) == list(content)


def _refuse(value: object) -> None:
    raise NotAccepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    url: str = option(Kind("a URL", _refuse), "Where.")


def test_a_secret_is_in_no_fault_and_no_repr() -> None:
    """
    A secret of the wrong form is refused without being shown, and so is the password of a URL.
    """
    with pytest.raises(Faults) as raised:
        structure(Door, {"url": "http://me:hunter2@host/"})

    assert "hunter2" not in str(raised.value)
    assert "host" in str(raised.value)
    assert "hunter2" not in faults_of({"best": {"name": "a", "stone": "hunter2\n"}})["best.stone"]
    assert "hunter2" not in repr(Fruit(name="a", stone="hunter2"))


def test_a_long_or_unprintable_value_is_shown_cut_and_escaped() -> None:
    """
    An error is one line of bounded length, whatever the file contains.
    """
    faults = faults_of({"best": {"name": "a", "weight": "x" * 5000}, "\n\x1b[31m": 1})

    assert all(len(message) < 300 and message.isprintable() for message in faults.values())
    assert all(place.isprintable() for place in faults)


def test_options_are_told_with_default_and_unit() -> None:
    """
    The reference and the checks come from the same declarations.
    """
    told = {told.name: (told.default_text, told.kind.unit) for told in options_of(Fruit)}

    assert told == {
        "name": ("required", ""),
        "weight": ("64 KiB", "bytes"),
        "ripens": ("2", "seconds"),
        "colours": ("none", ""),
        "pips": ("3", ""),
        "sweet": ("true", ""),
        "stone": ("none", ""),
    }


@pytest.mark.parametrize(("number", "shown"), [(0, "0"), (1000, "1000"), (1024, "1 KiB"), (5 * 1024**3, "5 GiB")])
def test_a_size_is_written_as_it_may_be_read(number: int, shown: str) -> None:
    """
    A size is shown in the largest unit that divides it.
    """
    assert format_size(number) == shown


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = ", "not TOML"), (b"a = '\xff'", "not UTF-8"), (b"#" * 101, "larger than"), (None, "No such file")],
)
def test_an_unreadable_file_is_one_fault(tmp_path: Path, content: bytes | None, message: str) -> None:
    """
    The error about a file that is missing, too large or not TOML has its name.
    """
    path = tmp_path / "file.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(Faults) as raised:
        read_toml(path, 100)

    (fault,) = raised.value.faults
    assert str(path) in fault.message
    assert message in fault.message


def test_a_fault_is_written_with_its_place() -> None:
    """
    An error about the file itself has no place.
    """
    assert str(Fault("a.b", "wrong")) == "a.b: wrong"
    assert str(Fault("", "wrong")) == "wrong"
