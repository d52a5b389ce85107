"""
The options of ``s3proxy keys add`` that say what a key may do: one for each option of a key's table.

They follow from the declarations of `KeyTable`, so a new option there is an option here, too.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from typing import Any

from s3proxy.configuration.tables import Kind, NotAccepted, Option, options_of
from s3proxy.credentials.record import KeyTable

ACCESS_KEY_ID, SECRET = "access_key_id", "secret_access_key"


def rule_options() -> list[Option]:
    """
    Return the options of a key that are neither its name nor a secret.
    """
    return [each for each in options_of(KeyTable) if each.name != ACCESS_KEY_ID and not each.kind.is_secret]


def flag_of(name: str) -> str:
    """
    Return the command line option for an option of a key.
    """
    return "--" + name.replace("_", "-")


def add_rule_options(parser: argparse.ArgumentParser) -> None:
    """
    Add an option for each rule. A rule that is a list is an option that may be repeated.
    """
    for each in rule_options():
        told = f"{each.about} Accepted: {each.kind.accepted}."
        details: dict[str, Any] = {"dest": _destination(each), "help": told.replace("%", "%%")}
        if isinstance(each.default, bool):
            parser.add_argument(flag_of(each.name), action="store_true", default=None, **details)
        elif each.kind.item is not None:
            of_item = _reader(each.kind.item)
            parser.add_argument(flag_of(each.name), action="append", type=of_item, metavar=each.name.upper(), **details)
        else:
            parser.add_argument(flag_of(each.name), type=_reader(each.kind), metavar=each.name.upper(), **details)


def given_rules(options: argparse.Namespace) -> dict[str, Any]:
    """
    Return the rules that the command line has, as a keys file would have them.
    """
    given = {each.name: getattr(options, _destination(each)) for each in rule_options()}
    return {name: value for name, value in given.items() if value is not None}


def _destination(rule: Option) -> str:
    return f"rule_{rule.name}"


def _reader(kind: Kind) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        # Text needs no quotation marks; numbers and times are written as in a file.
        for value in (text, _literal(text)):
            try:
                kind.parse(value)
            except NotAccepted:
                continue
            return value
        raise argparse.ArgumentTypeError(f'"{text}" is not accepted; accepted: {kind.accepted}')

    return read


def _literal(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return None
    return found["value"] if len(found) == 1 else None
