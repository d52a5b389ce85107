"""
The entry of a directory that describes a client key: its attributes, and the record they make.

Each option of a key has one attribute, with the option's name in the way of LDAP: `s3proxyAccessKeyId` is
`access_key_id`. `migrations/ldap/` has the schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from s3proxy.configuration.tables import Fault, Faults, NotAccepted, counted
from s3proxy.credentials.ldap_messages import Entry
from s3proxy.credentials.record import read_record
from s3proxy.credentials.source import KeyRules
from s3proxy.s3.credential import Credential

OBJECT_CLASS = "s3proxyKey"
KEY_ATTRIBUTE = "s3proxyAccessKeyId"


# Values (RFC 4517, section 3.3)


def _read_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise NotAccepted("is not UTF-8") from None


def _read_boolean(raw: bytes) -> bool:
    if raw not in {b"TRUE", b"FALSE"}:
        raise NotAccepted("is neither TRUE nor FALSE")
    return raw == b"TRUE"


def _read_number(raw: bytes) -> int:
    if re.fullmatch(rb"-?[0-9]{1,19}", raw) is None:
        raise NotAccepted("is not a whole number")
    return int(raw)


_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)?)?(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d)(\d\d)?)", re.ASCII)


def _read_time(raw: bytes) -> datetime:
    found = _TIME.fullmatch(_read_text(raw))
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(each or 0) for each in found.groups()[:6])
        fraction, sign, hours, minutes = found.groups()[6:]
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset) if sign else UTC)
        # The fraction is one of the last unit that is given.
        unit = timedelta(seconds=1) if found[6] else timedelta(minutes=1) if found[5] else timedelta(hours=1)
        return moment + unit * float(f"0.{fraction or 0}")
    except (ValueError, OverflowError):
        raise NotAccepted("is not a time with an offset, like 20300101000000Z") from None


@dataclass(frozen=True, slots=True)
class Attribute:
    """
    An attribute of a key's entry.

    Attributes:
        option: The option of a key that it is, as `KeyTable` names it.
        read: Returns one value; raises `NotAccepted`.
        is_list: Whether it may have several values.
    """

    option: str
    read: Callable[[bytes], Any]
    is_list: bool = False

    def read_all(self, values: tuple[bytes, ...]) -> Any:
        """
        Return the option's value.

        Raises:
            NotAccepted: There are several values for one, or a value is not of the attribute's syntax.
        """
        if self.is_list:
            return [self.read(value) for value in values]
        if len(values) != 1:
            raise NotAccepted(f"has {counted(len(values), 'value')} instead of 1")
        return self.read(values[0])


ATTRIBUTES = {
    KEY_ATTRIBUTE: Attribute("access_key_id", _read_text),
    "s3proxySecretAccessKey": Attribute("secret_access_key", _read_text, is_list=True),
    "s3proxySessionToken": Attribute("session_token", _read_text),
    "s3proxyExpires": Attribute("expires", _read_time),
    "s3proxyDisabled": Attribute("disabled", _read_boolean),
    "s3proxyBackend": Attribute("backend", _read_text),
    "s3proxyBackendKey": Attribute("backend_key", _read_text, is_list=True),
    "s3proxyExempt": Attribute("exempt", _read_text, is_list=True),
    "s3proxyRefuse": Attribute("refuse", _read_text, is_list=True),
    "s3proxyRequests": Attribute("requests", _read_number),
    "s3proxyBodies": Attribute("bodies", _read_number),
    "s3proxyRequestsPerSecond": Attribute("requests_per_second", _read_number),
    "s3proxyBytesPerSecond": Attribute("bytes_per_second", _read_number),
    "s3proxyAllow": Attribute("allow", _read_text, is_list=True),
    "s3proxyDeny": Attribute("deny", _read_text, is_list=True),
    "s3proxyNetworks": Attribute("networks", _read_text, is_list=True),
    "s3proxyReadOnly": Attribute("read_only", _read_boolean),
}
"""
The attributes by their names.
"""

ASKED_ATTRIBUTES = [*ATTRIBUTES, f"@{OBJECT_CLASS}"]
"""
What a search asks for. The last item is every attribute of the class (RFC 4529), also one that a later version of the
schema has added: what it restricts would not be restricted.
"""

_MAX_SHOWN = 80
_BY_NAME = {name.lower(): (name, attribute) for name, attribute in ATTRIBUTES.items()}
_NAMES = {attribute.option: name for name, attribute in ATTRIBUTES.items()}


def read_entry(entry: Entry, rules: KeyRules) -> Credential:
    """
    Return the credential that an entry describes.

    Raises:
        Faults: All errors of the entry, with the names of the attributes. No secret is in their text.
    """
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for description, raw_values in entry.attributes:
        # An attribute with an option, such as ";lang-en", is another attribute.
        shown = description[:_MAX_SHOWN].decode("ascii", "backslashreplace")
        if shown.lower() == "objectclass":
            # The class has it of its superior class.
            continue
        name, attribute = _BY_NAME.get(shown.lower(), (shown, None))
        try:
            if attribute is None:
                raise NotAccepted("is not known to this version of s3proxy")
            if attribute.option in values:
                raise NotAccepted("is there twice")
            values[attribute.option] = attribute.read_all(raw_values)
        except NotAccepted as error:
            faults.append(Fault(name, str(error)))
    if faults:
        raise Faults(faults)
    try:
        return read_record(values, rules)
    except Faults as error:
        raise Faults(replace(fault, told=_told(fault.place)) for fault in error.faults) from None


def _told(place: str) -> str:
    option, bracket, rest = place.partition("[")
    return _NAMES.get(option, option) + bracket + rest
