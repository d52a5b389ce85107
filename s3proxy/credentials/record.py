"""
What a source says about one client key, and the credential made of it.

Every source describes a key by the same options, which have the same names and are checked alike: the tables of a keys
file, the columns of a database, the attributes of a directory and the members of a JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from s3proxy.authentication.realm import SWITCHES
from s3proxy.authorization.rules import ACCEPTED_RULE, BadRuleError, Rule
from s3proxy.configuration.tables import (
    Fault,
    Faults,
    Kind,
    NotAccepted,
    accepted_names,
    boolean,
    choice,
    count,
    list_of,
    one_or_list_of,
    option,
    size,
    structure,
    text,
)
from s3proxy.credentials.source import KeyRules
from s3proxy.s3.credential import BudgetLimits, Credential
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.limits import GIB
from s3proxy.s3.network import Networks

BUDGET_OPTIONS = ("requests", "bodies", "requests_per_second", "bytes_per_second")
"""
The options that set one key's own limits.
"""

MAX_SECRETS = 2
"""
Maximum number of secrets of one key: the old and the new one, while clients change over.
"""


def _check_access_key_id(value: str) -> None:
    # A slash ends a key id in a credential scope; white space and commas end it in an Authorization header.
    if not value.isascii() or re.search(r"[\s/,]", value) or len(value) > 128:
        raise NotAccepted


def _check_rule(value: str) -> None:
    try:
        Rule(value)
    except BadRuleError as error:
        raise NotAccepted(str(error)) from None


def _check_network(value: str) -> None:
    try:
        Networks([value])
    except ValueError as error:
        raise NotAccepted(str(error)) from None


_RULES = list_of(text(ACCEPTED_RULE, _check_rule))


def _secrets() -> Kind:
    def parse(value: Any) -> tuple[str, ...]:
        secrets = value if isinstance(value, list) else [value]
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise NotAccepted
        for secret in secrets:
            if not isinstance(secret, str) or not secret or not secret.isprintable():
                raise NotAccepted
        return tuple(secrets)

    return Kind("printable text, or a list of two during a key rotation", parse, is_secret=True)


SECRETS = _secrets()


def _moment() -> Kind:
    def parse(value: Any) -> datetime:
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise NotAccepted
        return value

    return Kind("a date and time with a UTC offset, like 2030-01-01T00:00:00Z, without quotation marks", parse)


_KEY_LIMIT = "the `key_` limit in `[limits]`"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTable:
    """
    One client key.
    """

    access_key_id: str = option(
        text("ASCII text of at most 128 characters without whitespace, slashes or commas", _check_access_key_id),
        "The access key id of the client. It must be unique.",
    )
    secret_access_key: tuple[str, ...] = option(
        SECRETS,
        "The secret that the client signs with; or two while clients change over, the former one first.",
    )
    session_token: str | None = option(
        text("printable text", is_secret=True),
        "The session token of a temporary key. Every request must carry it.",
        None,
    )
    expires: datetime | None = option(_moment(), "When the key expires.", None)
    disabled: bool = option(boolean(), "Whether the key is treated as if it did not exist.", default=False)
    backend: str | None = option(
        text("the name of a [[backend]]"),
        "The backend of all requests with this key. It overrides every `[[route]]`.",
        None,
        told="the backend of a `[[route]]`, or the first backend",
    )
    backend_key: tuple[str, ...] = option(
        one_or_list_of(text("the name of a [[backend_key]]")),
        "The backend keys that sign for this key: one for each backend that it may use. Requests that match no "
        "`[[route]]` go to the backend of the first one.",
        (),
        told="the backend's own",
    )
    exempt: tuple[str, ...] = option(
        list_of(choice(*Exemption)),
        "Checks that are waived, for clients that cannot pass them.",
        (),
    )
    refuse: tuple[str, ...] = option(
        list_of(choice(*SWITCHES)), "Types of signatures and payloads that are refused for this key.", ()
    )
    allow: tuple[str, ...] | None = option(
        _RULES,
        "What the key may do. Everything else is refused with AccessDenied. An empty list allows nothing.",
        None,
        told="everything",
    )
    deny: tuple[str, ...] = option(_RULES, "What the key may not do, whatever `allow` says.", ())
    networks: tuple[str, ...] = option(
        list_of(text("an IP address or a network, like 10.0.0.0/8", _check_network)),
        "The networks from which the key may be used.",
        (),
        told="all",
    )
    read_only: bool = option(
        boolean(), "Whether every request that would change something is refused with AccessDenied.", default=False
    )
    requests: int | None = option(
        count(0, 1_000_000),
        "Concurrent requests with this key. Further ones wait. 0 for no limit.",
        None,
        told=_KEY_LIMIT,
    )
    bodies: int | None = option(
        count(0, 1_000_000), "Concurrent requests with this key and a body. 0 for no limit.", None, told=_KEY_LIMIT
    )
    requests_per_second: int | None = option(
        count(0, 1_000_000_000), "Requests per second with this key. 0 for no limit.", None, told=_KEY_LIMIT
    )
    bytes_per_second: int | None = option(
        size(0, 1024 * GIB),
        "Body bytes per second with this key, in both directions together. 0 for no limit.",
        None,
        told=_KEY_LIMIT,
    )


def _budget(table: KeyTable, key_limits: BudgetLimits) -> BudgetLimits | None:
    own = {name: value for name in BUDGET_OPTIONS if (value := getattr(table, name)) is not None}
    return replace(key_limits, **own) if own else None


def make_credential(table: KeyTable, rules: KeyRules) -> Credential:
    """
    Return the credential of a key.
    """
    return Credential(
        access_key_id=table.access_key_id,
        secret_access_keys=table.secret_access_key,
        session_token=table.session_token,
        expires_at=table.expires,
        is_disabled=table.disabled,
        exemptions=frozenset(map(Exemption, table.exempt)),
        refused=frozenset(table.refuse),
        backend=table.backend,
        backend_keys=table.backend_key,
        allow=table.allow,
        deny=table.deny,
        networks=table.networks,
        is_read_only=table.read_only,
        budget=_budget(table, rules.limits),
    )


def key_faults(table: KeyTable, place: str, rules: KeyRules) -> Iterable[Fault]:
    """
    Yield the errors of a key that only the rest of the configuration shows.

    Args:
        place: Where the key is: `key[0]`; empty if the source has no places.
    """
    if rules.backends is None:
        return
    prefix = f"{place}." if place else ""
    if table.backend is not None and table.backend not in rules.backends:
        yield Fault(f"{prefix}backend", accepted_names(table.backend, rules.backends))
    yield from _backend_key_faults(table, f"{prefix}backend_key", rules.backend_keys)


def read_record(values: Mapping[str, Any], rules: KeyRules) -> Credential:
    """
    Return the credential that a record of a source describes.

    Args:
        values: By the names of `KeyTable`. What the record does not say is absent; None is not accepted.

    Raises:
        Faults: All errors of the record. No secret is in their text.
    """
    table = structure(KeyTable, values)
    faults = list(key_faults(table, "", rules))
    if faults:
        raise Faults(faults)
    return make_credential(table, rules)


def _backend_key_faults(table: KeyTable, place: str, backend_keys: Mapping[str, str]) -> Iterable[Fault]:
    former: dict[str, str] = {}
    for name in table.backend_key:
        backend = backend_keys.get(name)
        if backend is None:
            yield Fault(place, accepted_names(name, backend_keys))
        elif backend in former:
            yield Fault(
                place, f'"{former[backend]}" and "{name}" both belong to backend "{backend}": only one per backend'
            )
        elif table.backend not in {None, backend}:
            yield Fault(place, f'"{name}" belongs to backend "{backend}", but the key\'s backend is "{table.backend}"')
        else:
            former[backend] = name
