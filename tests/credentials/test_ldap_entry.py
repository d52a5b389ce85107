"""
The entry of a key: its attributes are the options of a key, and the schema that is shipped has all of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from s3proxy.configuration.tables import Faults, options_of
from s3proxy.credentials.ldap_entry import ASKED_ATTRIBUTES, ATTRIBUTES, OBJECT_CLASS, read_entry
from s3proxy.credentials.ldap_messages import Entry
from s3proxy.credentials.record import KeyTable
from s3proxy.credentials.source import ANY_NAMES, KeyRules
from s3proxy.s3.credential import Credential
from tests.support.root import ROOT

SECRET = "a-secret-that-nobody-may-see"
MIGRATIONS = ROOT / "s3proxy/credentials/migrations/ldap"


def made(**attributes: Any) -> Entry:
    """
    Return the entry of a key with some attributes; values may be one or a list.
    """
    named: dict[str, Any] = {"s3proxyAccessKeyId": b"AK1", "s3proxySecretAccessKey": SECRET.encode(), **attributes}
    lists = {name: values if isinstance(values, list) else [values] for name, values in named.items() if values}
    return Entry(b"cn=key", tuple((name.encode(), tuple(values)) for name, values in lists.items()))


def read(**attributes: Any) -> Credential:
    """
    Return its credential.
    """
    return read_entry(made(**attributes), ANY_NAMES)


def faults(**attributes: Any) -> list[str]:
    """
    Return its errors.
    """
    with pytest.raises(Faults) as raised:
        read(**attributes)
    told = list(map(str, raised.value.faults))
    assert SECRET not in "".join(told)
    return told


def test_every_option_has_an_attribute() -> None:
    """
    With the option's name in the way of LDAP.
    """
    options = {option.name for option in options_of(KeyTable)}
    camel = {name: "s3proxy" + "".join(part.title() for part in name.split("_")) for name in options}

    assert options <= {attribute.option for attribute in ATTRIBUTES.values()}
    assert {ATTRIBUTES[name].option for name in camel.values()} == options
    assert set(ASKED_ATTRIBUTES) == {*ATTRIBUTES, "@s3proxyKey"}


def test_a_whole_entry() -> None:
    """
    Every kind of value.
    """
    credential = read(
        s3proxySecretAccessKey=[b"old-secret", "schlüssel".encode()],
        s3proxySessionToken=b"a-token",
        s3proxyExpires=b"20300102030405Z",
        s3proxyDisabled=b"TRUE",
        s3proxyBackend=b"main",
        s3proxyRefuse=[b"v2-query", b"v2-form"],
        s3proxyRequests=b"7",
        s3proxyBytesPerSecond=b"1000000",
    )

    assert credential.access_key_id == "AK1"
    assert credential.secret_access_keys == ("old-secret", "schlüssel")
    assert credential.session_token == "a-token"
    assert credential.expires_at == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert credential.is_disabled
    assert (credential.backend, credential.refused) == ("main", {"v2-query", "v2-form"})
    assert credential.budget is not None
    assert (credential.budget.requests, credential.budget.bytes_per_second) == (7, 1_000_000)


def test_names_have_no_case() -> None:
    """
    A server may return them as the search named them, or as its schema does.
    """
    entry = Entry(
        b"cn=key",
        # A search for all attributes of a class returns the classes, too.
        ((b"objectClass", (b"s3proxyKey",)), (b"S3PROXYACCESSKEYID", (b"AK1",)), (b"s3proxysecretaccesskey", (b"s",))),
    )

    assert read_entry(entry, ANY_NAMES).access_key_id == "AK1"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (b"20300101000000Z", "2030-01-01T00:00:00+00:00"),
        (b"203001010000Z", "2030-01-01T00:00:00+00:00"),
        (b"2030010112Z", "2030-01-01T12:00:00+00:00"),
        (b"20300101000000.5Z", "2030-01-01T00:00:00.500000+00:00"),
        (b"203001010000,5Z", "2030-01-01T00:00:30+00:00"),
        (b"2030010100.25Z", "2030-01-01T00:15:00+00:00"),
        (b"20300101020000+0200", "2030-01-01T00:00:00+00:00"),
        (b"20291231190000-05", "2030-01-01T00:00:00+00:00"),
    ],
)
def test_times(value: bytes, moment: str) -> None:
    """
    All forms of a generalized time.
    """
    assert read(s3proxyExpires=value).expires_at == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"s3proxyExpires": b"20300101000000"}, "s3proxyExpires: is not a time with an offset, like 20300101000000Z"),
        ({"s3proxyExpires": b"20301301000000Z"}, "s3proxyExpires: is not a time with an offset, like 20300101000000Z"),
        ({"s3proxyExpires": b"2030-01-01T00:00:00Z"}, "s3proxyExpires: is not a time"),
        ({"s3proxyExpires": b"20300101000000+9999"}, "s3proxyExpires: is not a time"),
        ({"s3proxyDisabled": b"true"}, "s3proxyDisabled: is neither TRUE nor FALSE"),
        ({"s3proxyDisabled": [b"TRUE", b"FALSE"]}, "s3proxyDisabled: has 2 values instead of 1"),
        ({"s3proxyRequests": b"many"}, "s3proxyRequests: is not a whole number"),
        ({"s3proxyRequests": b"-1"}, "s3proxyRequests: -1 is not accepted"),
        ({"s3proxyBackend": b"\xff"}, "s3proxyBackend: is not UTF-8"),
        ({"s3proxySecretAccessKey": [SECRET.encode(), b"\xff"]}, "s3proxySecretAccessKey: is not UTF-8"),
        ({"s3proxySecretAccessKey": [SECRET.encode() + b"\n"]}, "s3proxySecretAccessKey: this value is not accepted"),
        ({"s3proxySecretAccessKey": [SECRET.encode() * n for n in (1, 2, 3)]}, "s3proxySecretAccessKey: this value"),
        ({"s3proxySecretAccessKey": []}, "s3proxySecretAccessKey: missing required option"),
        ({"s3proxyRefuse": [b"v2-query", b"everything"]}, 's3proxyRefuse[1]: "everything" is not accepted'),
        ({"s3proxyAllow;lang-en": b"read:*"}, "s3proxyAllow;lang-en: is not known to this version of s3proxy"),
        ({"s3proxyForbid": b"write:*"}, "s3proxyForbid: is not known to this version of s3proxy"),
        ({"s3proxy" + "x" * 1000: b"v"}, "s3proxy" + "x" * 73 + ": is not known to this version of s3proxy"),
        ({"S3PROXYACCESSKEYID": b"AK2"}, "s3proxyAccessKeyId: is there twice"),
    ],
)
def test_what_is_no_key(attributes: dict[str, Any], told: str) -> None:
    """
    The error has the attribute's name. An attribute that is not understood may be a restriction, so it is an error.
    """
    (found,) = faults(**attributes)

    assert found.startswith(told)


def test_names_of_backends_are_checked() -> None:
    """
    As for every source.
    """
    with pytest.raises(Faults, match=r"s3proxyBackend: \"elsewhere\" is not accepted"):
        read_entry(made(s3proxyBackend=b"elsewhere"), KeyRules(backends=["main"]))


# The schema


def definitions(text: str) -> list[str]:
    """
    Return the definitions of a schema, with one space between two words.
    """
    pattern = r"^(?:olc)?(?:objectidentifier|attributetypes?|objectclass(?:es)?):? (.*?)(?=^\S|\Z)"
    found = re.findall(pattern, text, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    return [" ".join(each.split()) for each in found if each.startswith(("(", "s3proxy"))]


def test_the_schema_has_every_attribute() -> None:
    """
    Both forms of it define the same. Every option is an attribute of the class, and single unless it is a list.
    """
    schema = definitions((MIGRATIONS / "s3proxy.schema").read_text("utf-8"))
    # A line that begins with a space continues the one before it.
    ldif = definitions((MIGRATIONS / "s3proxy.ldif").read_text("utf-8").replace("\n ", ""))
    named = [(re.search(r"NAME '(\w+)' DESC '[^']+' EQUALITY", each), each) for each in schema]
    types = {found[1]: "SINGLE-VALUE" not in each for found, each in named if found is not None}
    (its_class,) = [each for each in schema if "AUXILIARY" in each]

    assert schema == ldif
    assert types == {name: attribute.is_list for name, attribute in ATTRIBUTES.items()}
    assert f"NAME '{OBJECT_CLASS}'" in its_class
    assert set(re.findall(r"s3proxy[A-Z]\w+", its_class)) - {"s3proxyKey", "s3proxyClass"} == ATTRIBUTES.keys()
    assert "MUST ( s3proxyAccessKeyId $ s3proxySecretAccessKey )" in its_class


def test_the_page_has_every_attribute() -> None:
    """
    With the option that it is. The rule that hides the secrets has them all, too.
    """
    page = (ROOT / "docs/howto/keys-in-ldap.md").read_text("utf-8")

    (rule,) = re.findall(r"^olcAccess: \{0\}to attrs=(.*?)\n  by", page, re.MULTILINE | re.DOTALL)

    assert set(rule.replace("\n ", "").split(",")) == ATTRIBUTES.keys()
    for name, attribute in ATTRIBUTES.items():
        assert f"| `{name}` | `{attribute.option}` |" in page
