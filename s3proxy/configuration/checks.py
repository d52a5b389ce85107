"""
Checks that need more than one option: options that contradict each other, files that do not exist.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from s3proxy.configuration.certificates import client_faults, read_certificates
from s3proxy.configuration.endpoints import TCPAddress, excludes, listening_address, parse_tls
from s3proxy.configuration.modes import Commit, MultipartMode
from s3proxy.configuration.options import (
    DEFAULT_LISTEN,
    TABLES,
    AnonymousSettings,
    BackendKeySettings,
    BackendSettings,
    CredentialsSettings,
    LDAPSettings,
    Limits,
    ListenerSettings,
    LogSettings,
    RouteSettings,
    ServerSettings,
    Times,
    with_paths,
)
from s3proxy.configuration.tables import Fault, Faults, accepted_names, options_of, structure
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.account import PayloadPolicy, SignatureVersion
from s3proxy.s3.bucket_pattern import covers
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.transport.certificates import CertificateError, read_authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """
    The configuration file, as it is written.
    """

    server: ServerSettings = field(default_factory=ServerSettings)
    listener: tuple[ListenerSettings, ...] = ()
    backend: tuple[BackendSettings, ...] = ()
    backend_key: tuple[BackendKeySettings, ...] = ()
    route: tuple[RouteSettings, ...] = ()
    credentials: CredentialsSettings = field(default_factory=CredentialsSettings)
    anonymous: AnonymousSettings = field(default_factory=AnonymousSettings)
    limits: Limits = field(default_factory=Limits)
    times: Times = field(default_factory=Times)
    log: LogSettings = field(default_factory=LogSettings)


def faults_between(file: ConfigurationFile, directory: Path) -> list[Fault]:
    """
    Return the errors of options that are each valid alone: they contradict each other, or the files of the machine.
    """
    faults: list[Fault] = []
    _check_backends(file, directory, faults)
    _check_backend_keys(file, faults)
    _check_routes(file, faults)
    _check_spool(file.server, directory, faults)
    _check_commit(file, faults)
    _check_hosts(file, faults)
    _check_multipart(file, directory, faults)
    _check_access_log(file.log, directory, faults)
    _check_trust(file, faults)
    _check_addresses(file, faults)
    _check_directory(file.credentials, faults)
    _check_tls(file, directory, faults)
    return faults


_OF_SEVERAL = re.compile("exactly one of|must be set together|requires|is for|has no effect|must have the scheme")
"""
Errors about the options of one table together. Such an error may exist only because an invalid option was removed.
"""

_PLACE = re.compile(r"([^.\[]*)(?:\[(\d+)\])?(?:\.([^.\[]*).*)?", re.DOTALL)
_STAND_IN = "a-name-that-no-file-has"
_ARRAYS = {name.strip("[]"): table for name, table in TABLES.items() if name.startswith("[[")}


def further_faults(content: Mapping[str, Any], faults: Sequence[Fault], directory: Path) -> list[Fault]:
    """
    Return the same errors for a file with invalid options, except those that depend on these options.
    """
    rest = copy.deepcopy(dict(content))
    for fault in faults:
        _take_out(rest, fault.place)
    for name, table in _ARRAYS.items():
        for index, entry in enumerate(rest.get(name, [])):
            needed = [option.name for option in options_of(table) if option.is_required and option.name not in entry]
            entry.update(dict.fromkeys(needed, f"{_STAND_IN}-{index}"))
            if "endpoint" in needed:
                entry["endpoint"] = f"unix:{_STAND_IN}-{index}"
    try:
        file = structure(ConfigurationFile, rest)
    except Faults:
        return []
    wrong = {fault.place.partition(".")[0] for fault in faults}
    if any(fault.place.startswith("server.listen") for fault in faults):
        # Without it, the default would be used, which is not in the file.
        file = replace(file, server=replace(file.server, listen=("unix:" + _STAND_IN,)))
    if "server" in wrong:
        wrong |= {f"listener[{index}]" for index in range(len(file.listener))}
    return [
        fault
        for fault in faults_between(file, directory)
        # This also drops the error about an unknown name if stand-ins are among the known names: the message lists
        # them.
        if _STAND_IN not in fault.message
        and not (fault.place.partition(".")[0] in wrong and _OF_SEVERAL.search(fault.message))
    ]


def _take_out(content: dict[str, Any], place: str) -> None:
    """
    Remove an invalid option. In a list of tables, an entry that is not a table becomes an empty table.
    """
    found = _PLACE.fullmatch(place)
    if found is None or place in content:
        # A quoted name can look like a place.
        content.pop(place, None)
        return
    name, number, option = found.groups()
    table = content.get(name)
    if number is not None and isinstance(table, list) and int(number) < len(table):
        if not isinstance(table[int(number)], dict):
            table[int(number)] = {}
        table = table[int(number)]
    if option is not None and isinstance(table, dict):
        table.pop(option, None)
    elif number is None:
        content.pop(name, None)


def _check_addresses(file: ConfigurationFile, faults: list[Fault]) -> None:
    listen = file.server.listen or (() if file.listener else (DEFAULT_LISTEN,))
    named = {f"server.listen[{index}]": endpoint for index, endpoint in enumerate(listen)}
    listeners = {f"listener[{index}].endpoint": f"[[listener]] {index + 1}" for index in range(len(file.listener))}
    named |= {place: one.endpoint for place, one in zip(listeners, file.listener, strict=True)}
    if file.server.admin is not None:
        named["server.admin"] = file.server.admin
    former: dict[str, TCPAddress | str] = {}
    for place, endpoint in named.items():
        address = listening_address(endpoint)
        if address is None:
            continue
        for other, taken in former.items():
            if excludes(address, taken):
                faults.append(Fault(place, f"the address is already used by {other}"))
                break
        former[listeners.get(place, place)] = address


def _check_directory(credentials: CredentialsSettings, faults: list[Fault]) -> None:
    if credentials.ldap != LDAPSettings() and credentials.source.partition(":")[0] not in {"ldap", "ldaps"}:
        faults.append(Fault("credentials.ldap", "has no effect unless credentials.source is an ldap or ldaps URL"))


def _check_tls(file: ConfigurationFile, directory: Path, faults: list[Fault]) -> None:
    listen = file.server.listen or (() if file.listener else (DEFAULT_LISTEN,))
    listeners = [
        *((f"server.listen[{index}]", "server", ListenerSettings(endpoint=each)) for index, each in enumerate(listen)),
        *((f"listener[{index}].endpoint", f"listener[{index}]", each) for index, each in enumerate(file.listener)),
    ]
    for place, table, own in listeners:
        listener = own.inheriting(file.server)
        endpoint = parse_tls(listener.endpoint)
        faults += client_faults(listener, table)
        if endpoint is not None:
            try:
                read_certificates(endpoint, directory)
            except CertificateError as error:
                faults.append(Fault(place, str(error)))
        if listener.client_ca_file is not None:
            try:
                read_authorities(directory / listener.client_ca_file)
            except CertificateError as error:
                named_in = "server" if own.client_ca_file is None else table
                faults.append(Fault(f"{named_in}.client_ca_file", str(error)))


def _check_trust(file: ConfigurationFile, faults: list[Fault]) -> None:
    tables = {f"listener[{index}]": one.inheriting(file.server) for index, one in enumerate(file.listener)}
    if file.server.listen or not tables:
        tables["server"] = ListenerSettings(endpoint=DEFAULT_LISTEN).inheriting(file.server)
    for place, table in tables.items():
        for name in ("proxy_protocol", "trusted_forwarded"):
            if getattr(table, name) not in {False, ForwardedHeaders.NONE} and not table.trusted_peers:
                faults.append(Fault(f"{place}.{name}", "has no effect unless trusted_peers is set"))


def _check_backends(file: ConfigurationFile, directory: Path, faults: list[Fault]) -> None:
    """
    Find backend options that are each valid alone, but contradict each other.
    """
    if not file.backend:
        faults.append(Fault("backend", "at least one [[backend]] is required"))
    _check_names("backend", [backend.name for backend in file.backend], faults)
    for index, backend in enumerate(file.backend):
        place = f"backend[{index}]"
        _check_places(backend, place, faults)
        is_pair = (backend.client_certificate_file is None) == (backend.client_private_key_file is None)
        if not is_pair:
            faults.append(Fault(place, "client_certificate_file and client_private_key_file must be set together"))
        if backend.payload == PayloadPolicy.CHUNKS and backend.signature != SignatureVersion.V4:
            faults.append(Fault(f"{place}.payload", f'"chunks" requires signature "v4", not "{backend.signature}"'))
        for name in ("ca_file", "client_certificate_file", "client_private_key_file"):
            path = getattr(backend, name)
            if path is None:
                continue
            if not all(at.is_tls for at in backend.places):
                faults.append(Fault(f"{place}.{name}", "requires a url that begins with https"))
            elif why := _why_unreadable(directory / path):
                faults.append(Fault(f"{place}.{name}", f"{directory / path}: {why}"))
            elif (is_pair or name == "ca_file") and not _holds_pem(
                directory / path, is_key=name == "client_private_key_file"
            ):
                wanted = "private key" if name == "client_private_key_file" else "certificate"
                faults.append(Fault(f"{place}.{name}", f"{directory / path}: contains no PEM {wanted}"))


def _why_unreadable(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _holds_pem(path: Path, *, is_key: bool) -> bool:
    try:
        content = path.read_bytes()
        if is_key:
            load_pem_private_key(content, None)
        else:
            load_pem_x509_certificates(content)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _check_places(backend: BackendSettings, place: str, faults: list[Fault]) -> None:
    if (backend.url is None) == (not backend.urls):
        faults.append(Fault(place, "exactly one of url and urls is required"))
        return
    places = backend.places
    if backend.unix_socket is not None and len(places) > 1:
        faults.append(Fault(f"{place}.unix_socket", "requires exactly one url"))
    seen: set[str] = set()
    for number, at in enumerate(places):
        if at.authority in seen:
            faults.append(Fault(f"{place}.urls[{number}]", f"duplicate address {at.authority}"))
        if (at.is_tls, at.service_path) != (places[0].is_tls, places[0].service_path):
            faults.append(
                Fault(
                    f"{place}.urls[{number}]", "must have the scheme and the path of the first one: all are one backend"
                )
            )
        seen.add(at.authority)


def _check_names(table: str, names: Iterable[str], faults: list[Fault]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name, index)
        if first != index:
            faults.append(Fault(f"{table}[{index}].name", f'"{name}" is already the name of [[{table}]] {first + 1}'))


def _check_backend_keys(file: ConfigurationFile, faults: list[Fault]) -> None:
    backends = {backend.name: backend for backend in file.backend}
    _check_names("backend_key", [key.name for key in file.backend_key], faults)
    for index, key in enumerate(file.backend_key):
        place = f"backend_key[{index}].backend"
        if key.backend not in backends:
            faults.append(Fault(place, accepted_names(key.backend, backends)))
        elif backends[key.backend].signature == SignatureVersion.NONE:
            faults.append(Fault(place, f'requests to "{key.backend}" are not signed: its signature is "none"'))


def _check_routes(file: ConfigurationFile, faults: list[Fault]) -> None:
    backends = [backend.name for backend in file.backend]
    former: dict[str, str] = {}
    for index, route in enumerate(file.route):
        place = f"route[{index}]"
        if route.backend not in backends:
            faults.append(Fault(f"{place}.backend", accepted_names(route.backend, backends)))
        for pattern in route.bucket:
            if pattern in former:
                faults.append(Fault(f"{place}.bucket", f'"{pattern}" is already in {former[pattern]}'))
            elif first := next((known for known in former if covers(known, pattern)), None):
                why = f'{former[first]} has "{first}", and the first match applies'
                faults.append(Fault(f"{place}.bucket", f'"{pattern}" is unreachable: {why}'))
            former.setdefault(pattern, f"[[route]] {index + 1}")


def _check_spool(server: ServerSettings, directory: Path, faults: list[Fault]) -> None:
    path = directory / server.spool_directory
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        faults.append(Fault("server.spool_directory", f"{path}: not a writable directory"))


def _check_commit(file: ConfigurationFile, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        if backend.commit == Commit.TAIL and backend.spool_up_to is not None:
            why = 'has no effect with `commit = "tail"`: remove one of the two'
            faults.append(Fault(f"backend[{index}].spool_up_to", why))


def _check_hosts(file: ConfigurationFile, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        misread = PROFILES[backend.profile].misread_hosts
        # Requests name the host of the first place, whichever place s3proxy connects to.
        if misread is not None and backend.places and misread.search(backend.places[0].authority) is not None:
            why = f'{backend.profile} reads what is before ".walrus" in its host as a bucket: use the IP address'
            option = "url" if backend.url is not None else "urls"
            faults.append(Fault(f"backend[{index}].{option}", why))


def _check_multipart(file: ConfigurationFile, directory: Path, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        place = f"backend[{index}].multipart"
        profile = PROFILES[backend.profile]
        may_keep = profile.keeps_former_parts and backend.multipart == MultipartMode.SPOOL
        if backend.multipart is not None and not (profile.lacks_multipart or may_keep):
            lacking = ", ".join(sorted(profile.name for profile in PROFILES.values() if profile.lacks_multipart))
            why = f"{backend.profile} supports multipart uploads; this option is for profile {lacking}"
            faults.append(Fault(place, why))
    named = with_paths(file.server, directory).multipart_directory
    if named is not None:
        path = Path(named)
        if not (path.is_dir() or path.parent.is_dir()):
            faults.append(Fault("server.multipart_directory", f"{path.parent}: not a directory"))


def _check_access_log(log: LogSettings, directory: Path, faults: list[Fault]) -> None:
    path = directory / log.access
    if log.access in {"-", "none"}:
        return
    if not path.parent.is_dir():
        faults.append(Fault("log.access", f"{path.parent}: not a directory"))
    elif path.is_dir():
        faults.append(Fault("log.access", f"{path}: is a directory"))
