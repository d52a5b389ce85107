"""
The ``s3proxy keys`` command: list and change the keys of clients, in a file or a database.

Standard output has only the list, or a secret that was made. Remarks and errors are on standard error.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs, urlsplit

from s3proxy.commands.key_list import as_json, as_table, describe
from s3proxy.commands.key_options import ACCESS_KEY_ID, SECRET, add_rule_options, flag_of, given_rules
from s3proxy.commands.key_secrets import (
    NoSecret,
    add_secret_options,
    given_secret,
    kept_in,
    make_access_key_id,
    make_secret,
    profile_of,
    show,
)
from s3proxy.commands.unchecked import likely_credentials, likely_rules
from s3proxy.configuration.loading import read_configuration
from s3proxy.configuration.options import SOURCE
from s3proxy.configuration.tables import Faults, nearest, structure
from s3proxy.credentials.record import MAX_SECRETS, KeyTable, key_faults
from s3proxy.credentials.source import ANY_NAMES, KeyRules
from s3proxy.credentials.writer import KeyEdit, KeyWriter, Record, open_writer

WRONG = 1
"Exit status if nothing was changed, or not all of it succeeded."

CONFIGURATION = Path("s3proxy.toml")


class Refused(Exception):
    """
    The command cannot do what was asked; the text says why.
    """


def add_keys(parser: argparse.ArgumentParser) -> None:
    """
    Add the commands and their options.
    """
    # The options that say where the keys are may be before the command or after it.
    where = argparse.ArgumentParser(add_help=False)
    _add_where(where, argparse.SUPPRESS)
    _add_where(parser, None)
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", parents=[where], help="list the keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="print one JSON document")

    adding = commands.add_parser("add", parents=[where], help="add a key; its secret is made, unless it is given")
    name = adding.add_mutually_exclusive_group(required=True)
    name.add_argument("key_id", nargs="?", metavar="KEY_ID", help="the access key id of the client")
    name.add_argument("--generate", action="store_true", help="make the access key id, too")
    add_secret_options(adding)
    add_rule_options(adding)

    rotating = commands.add_parser(
        "rotate", parents=[where], help="give a key a second secret; later, drop one of the two"
    )
    rotating.add_argument("key_id", metavar="KEY_ID", help="the access key id")
    end = rotating.add_mutually_exclusive_group()
    end.add_argument("--finish", action="store_true", help="drop the former secret: all clients use the new one")
    end.add_argument("--cancel", action="store_true", help="drop the new secret: clients go on with the former one")
    add_secret_options(rotating)

    for word, told in (
        ("disable", "refuse all requests with a key, as if it did not exist"),
        ("enable", "accept a disabled key again"),
    ):
        switching = commands.add_parser(word, parents=[where], help=told)
        switching.add_argument("key_id", metavar="KEY_ID", help="the access key id")

    removing = commands.add_parser("remove", parents=[where], help="remove a key for good")
    removing.add_argument("key_id", metavar="KEY_ID", help="the access key id")
    removing.add_argument("--yes", action="store_true", help="do not ask")


def _add_where(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=default,
        help="configuration file that names the source of the keys (default: s3proxy.toml)",
    )
    parser.add_argument(
        "--source", default=default, help="the source itself, like file:keys.toml, if there is no configuration file"
    )


@dataclass(frozen=True, slots=True)
class Terminal:
    """
    Where a command reads and writes.

    Attributes:
        environment: For `--secret-env`.
    """

    input: TextIO
    output: TextIO | None
    remarks: TextIO
    environment: Mapping[str, str]

    def tell(self, text: str) -> None:
        """
        Write a remark or an error.
        """
        self.remarks.write(f"{text}\n")
        self.remarks.flush()


def run_keys(options: argparse.Namespace) -> int:
    """
    Run one command and return the exit status.
    """
    terminal = Terminal(sys.stdin, sys.stdout, sys.stderr, os.environ)
    try:
        return COMMANDS[options.keys_command](options, _open(options), terminal)
    except Faults as error:
        for told in error.told:
            terminal.tell(told)
    except (Refused, NoSecret) as error:
        terminal.tell(str(error))
    except KeyboardInterrupt:
        terminal.tell("\ninterrupted")
    return WRONG


@dataclass(frozen=True, slots=True)
class Keys:
    """
    The keys of one source.

    Attributes:
        named: The source as messages name it: without the password of a URL.
        rules: What the configuration says about every key.
    """

    writer: KeyWriter
    named: str
    rules: KeyRules

    def found(self, edit: KeyEdit, access_key_id: str) -> Record:
        """
        Return the record of a key within a transaction.

        Raises:
            Refused: There is no such key.
        """
        record = edit.get(access_key_id)
        if record is None:
            known = [str(each[ACCESS_KEY_ID]) for each in self.writer.records()]
            raise Refused(f'{self.named}: no key "{access_key_id}"{nearest(access_key_id, known)}')
        return record


def _open(options: argparse.Namespace) -> Keys:
    if options.source is not None:
        if options.config is not None:
            raise Refused("--config and --source exclude each other")
        return _open_named(options.source)
    path = options.config if options.config is not None else CONFIGURATION
    configuration = read_configuration(path)
    # If the source is wrong, the settings say why.
    credentials = likely_credentials(configuration) or configuration.settings().credentials
    return _keys_of(credentials.source, configuration.directory, likely_rules(configuration, credentials))


def _open_named(source: str) -> Keys:
    try:
        SOURCE.parse(source)
        url = urlsplit(source)
    except ValueError:
        raise Refused(f"--source is not accepted; accepted: {SOURCE.accepted}") from None
    if url.password is not None or "password" in parse_qs(url.query):
        # Every user of this machine can read it there, and the shell keeps it.
        raise Refused("--source must not contain a password: name the source in a configuration file")
    return _keys_of(source, Path(), ANY_NAMES)


def _keys_of(source: str, directory: Path, rules: KeyRules) -> Keys:
    word, _, argument = source.partition(":")
    return Keys(open_writer(source, directory, rules), word if argument.startswith("//") else argument, rules)


# Commands


def _list(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    now = datetime.now(UTC)
    described = [describe(record, now) for record in keys.writer.records()]
    text = as_json(described) if options.json else as_table(described)
    return 0 if show(f"{text}\n", terminal.output) else WRONG


def _add(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    access_key_id = make_access_key_id() if options.generate else options.key_id
    rules = given_rules(options)
    _check({ACCESS_KEY_ID: access_key_id, SECRET: "any", **rules}, keys.rules)

    def add(edit: KeyEdit, secret: str) -> None:
        if edit.get(access_key_id) is not None:
            raise Refused(f'{keys.named}: there is already a key "{access_key_id}"')
        edit.put({ACCESS_KEY_ID: access_key_id, SECRET: secret, **rules})

    return _with_secret(
        options, keys, terminal, access_key_id, add, f'Key "{access_key_id}" was added. {keys.writer.effect}'
    )


def _rotate(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    access_key_id = options.key_id
    if options.finish or options.cancel:
        return _end_rotation(options, keys, terminal)

    def rotate(edit: KeyEdit, secret: str) -> None:
        record = keys.found(edit, access_key_id)
        secrets = _secrets_of(record)
        if len(secrets) >= MAX_SECRETS:
            raise Refused(
                f'{keys.named}: key "{access_key_id}" has two secrets already. Drop the former one by '
                f"`rotate --finish {access_key_id}`, or the new one by `rotate --cancel {access_key_id}`"
            )
        if secret in secrets:
            raise Refused(f'{keys.named}: this is the secret of key "{access_key_id}" already')
        edit.put({**record, SECRET: [*secrets, secret]})

    return _with_secret(
        options,
        keys,
        terminal,
        access_key_id,
        rotate,
        f'Key "{access_key_id}" has two secrets now, and both are accepted. {keys.writer.effect} When all clients use '
        f"the new one: s3proxy keys rotate --finish {access_key_id}",
    )


def _end_rotation(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    access_key_id = options.key_id
    if options.output or options.secret_prompt or options.secret_file or options.secret_env:
        raise Refused("--finish and --cancel take no secret")
    with keys.writer.edit() as edit:
        record = keys.found(edit, access_key_id)
        secrets = _secrets_of(record)
        if len(secrets) < MAX_SECRETS:
            raise Refused(f'{keys.named}: key "{access_key_id}" has only one secret: no rotation has begun')
        edit.put({**record, SECRET: secrets[-1] if options.finish else secrets[0]})
    dropped = "former" if options.finish else "new"
    terminal.tell(f'The {dropped} secret of key "{access_key_id}" was dropped. {keys.writer.effect}')
    return 0


def _disable(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    return _switch(options.key_id, keys, terminal, is_disabled=True)


def _enable(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    return _switch(options.key_id, keys, terminal, is_disabled=False)


def _switch(access_key_id: str, keys: Keys, terminal: Terminal, *, is_disabled: bool) -> int:
    state = "disabled" if is_disabled else "enabled"
    with keys.writer.edit() as edit:
        record = keys.found(edit, access_key_id)
        is_changed = bool(record.get("disabled", False)) != is_disabled
        if is_changed:
            edit.put({**record, "disabled": is_disabled})
    remark = f"is {state} now. {keys.writer.effect}" if is_changed else f"is {state} already; nothing was changed"
    terminal.tell(f'Key "{access_key_id}" {remark}')
    return 0


def _remove(options: argparse.Namespace, keys: Keys, terminal: Terminal) -> int:
    access_key_id = options.key_id
    if not options.yes:
        known = [str(record[ACCESS_KEY_ID]) for record in keys.writer.records()]
        if access_key_id not in known:
            raise Refused(f'{keys.named}: no key "{access_key_id}"{nearest(access_key_id, known)}')
        if not terminal.input.isatty():
            raise Refused("there is no terminal to ask on; use --yes")
        terminal.remarks.write(f'Remove the key "{access_key_id}" from {keys.named} for good? [y/N] ')
        terminal.remarks.flush()
        if terminal.input.readline().strip().lower() not in {"y", "yes"}:
            raise Refused("nothing was changed")
    with keys.writer.edit() as edit:
        keys.found(edit, access_key_id)
        edit.remove(access_key_id)
    terminal.tell(f'Key "{access_key_id}" was removed. {keys.writer.effect}')
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Keys, Terminal], int]] = {
    "list": _list,
    "add": _add,
    "rotate": _rotate,
    "disable": _disable,
    "enable": _enable,
    "remove": _remove,
}


# Internals


def _secrets_of(record: Record) -> list[str]:
    secrets = record[SECRET]
    return [secrets] if isinstance(secrets, str) else list(secrets)


def _check(record: dict[str, Any], rules: KeyRules) -> None:
    """
    Raises:
        Refused: An option is not accepted. It is named as the command line has it.
    """
    try:
        faults = tuple(key_faults(structure(KeyTable, record), "", rules))
    except Faults as error:
        faults = error.faults
    if faults:
        names = [re.sub(r"\W.*", "", fault.place) for fault in faults]
        shown = ["KEY_ID" if name == ACCESS_KEY_ID else flag_of(name) for name in names]
        raise Refused("\n".join(f"{name}: {fault.message}" for name, fault in zip(shown, faults, strict=True)))


def _with_secret(
    options: argparse.Namespace,
    keys: Keys,
    terminal: Terminal,
    access_key_id: str,
    change: Callable[[KeyEdit, str], None],
    remark: str,
) -> int:
    """
    Carry out a change that needs a secret: the operator's, or one that is made and shown once.
    """
    given = given_secret(options, terminal.environment)
    if given is not None and options.output is not None:
        raise Refused("--output is for a secret that is made; this one is given")
    secret = make_secret() if given is None else given
    text = profile_of(access_key_id, secret)
    with kept_in(options.output, text), keys.writer.edit() as edit:
        change(edit, secret)
    terminal.tell(remark)
    if given is None and options.output is None and not show(text, terminal.output):
        undo = "rotate --cancel" if options.keys_command == "rotate" else "remove"
        terminal.tell(f"The secret could not be shown. Undo it: s3proxy keys {undo} {access_key_id}")
        return WRONG
    return 0
