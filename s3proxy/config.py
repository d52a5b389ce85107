"""
Settings from a configuration file: whatever is wrong in it is told at once, each fault with its place.
"""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from s3proxy.resign.profiles import PROFILES
from s3proxy.routing import covers
from s3proxy.s3.limits import KIB, MIB
from s3proxy.settings import (
    DEFAULT_LISTEN,
    TABLES,
    AnonymousSettings,
    BackendKeySettings,
    BackendSettings,
    CredentialsSettings,
    Limits,
    ListenerSettings,
    LogSettings,
    RouteSettings,
    ServerSettings,
    Settings,
    TCPAddress,
    Times,
    excludes,
    listening_address,
)
from s3proxy.tables import Fault, Faults, accepted_names, named_faults, options_of, read_toml, structure

MAX_FILE_SIZE = 1 * MIB
"""
Bytes of the configuration file; a hundred backends need 40 KiB.
"""

MAX_SECRET_FILE_SIZE = 4 * KIB
"""
Bytes of a file which holds one secret.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """
    The file as it is written.
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


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    What a configuration says, before anybody has checked it.

    Attributes:
        content: Tables and options; JSON could hold them.
        directory: What relative paths are relative to.
        path: The file it was read from; None if the command line says it.
    """

    content: Mapping[str, Any]
    directory: Path
    path: Path | None = None

    def settings(self) -> Settings:
        """
        Check it.

        Raises:
            Faults: All of them, each with its place in the file.
        """
        try:
            return make_settings(self.content, self.directory)
        except Faults as error:
            raise Faults(error.faults, self.path) from None


def read_configuration(path: Path) -> Configuration:
    """
    Read a configuration file.

    Raises:
        Faults: It cannot be read, or is no TOML.
    """
    return Configuration(read_toml(path, MAX_FILE_SIZE), path.parent, path)


def load_settings(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """
    Read and check a configuration file.

    Raises:
        Faults: All of them, each with its place in the file.
    """
    return make_settings(read_toml(path, MAX_FILE_SIZE), path.parent, environment)


def make_settings(content: Mapping[str, Any], directory: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """
    Make settings of what a configuration file says.

    Args:
        directory: What relative paths are relative to.

    Raises:
        Faults: All of them, each with its place in the file.
    """
    faults: list[Fault] = []
    secrets = _read_secrets(content, "backend", directory, environment, faults)
    key_secrets = _read_secrets(content, "backend_key", directory, environment, faults)
    try:
        file = structure(_File, content)
    except Faults as error:
        faults += [*error.faults, *_further_faults(content, error.faults, directory)]
    else:
        faults += _faults_between(file, directory)
    if faults:
        raise Faults(sorted(named_faults(set(faults), content)))
    server = file.server
    endpoints = server.listen or (() if file.listener else (DEFAULT_LISTEN,))
    listeners = [ListenerSettings(endpoint=endpoint) for endpoint in endpoints] + list(file.listener)
    return Settings(
        server=replace(
            server,
            spool_directory=str(directory / server.spool_directory),
            multipart_directory=_multipart_directory(server, directory),
        ),
        listeners=tuple(_with_inherited(listener, server) for listener in listeners),
        backends=tuple(
            replace(
                _with_paths(backend, directory),
                region=backend.region or server.region,
                secret_access_key=secrets[index],
            )
            for index, backend in enumerate(file.backend)
        ),
        backend_keys=tuple(
            replace(key, secret_access_key=secret) for key, secret in zip(file.backend_key, key_secrets, strict=True)
        ),
        routes=file.route,
        keys_file=directory / file.credentials.source.removeprefix("file:"),
        anonymous=file.anonymous,
        limits=file.limits,
        times=file.times,
        log=file.log if file.log.access in {"-", "none"} else LogSettings(access=str(directory / file.log.access)),
    )


def _faults_between(file: _File, directory: Path) -> list[Fault]:
    """
    Find what is wrong between options, or between an option and the machine, where each option alone is right.
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
    return faults


_OF_SEVERAL = re.compile("exactly one of|go together|is for|has no use|spools no body|must begin and end")
"""
Faults of one table's options together, which may be there only because one of them was taken out.
"""

_PLACE = re.compile(r"([^.\[]*)(?:\[(\d+)\])?(?:\.([^.\[]*).*)?", re.DOTALL)
_STAND_IN = "a-name-that-no-file-has"
_ARRAYS = {name.strip("[]"): table for name, table in TABLES.items() if name.startswith("[[")}


def _further_faults(content: Mapping[str, Any], faults: Sequence[Fault], directory: Path) -> list[Fault]:
    """
    Find the same where some options are wrong, as far as those have nothing to do with it.
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
        file = structure(_File, rest)
    except Faults:
        return []
    wrong = {fault.place.partition(".")[0] for fault in faults}
    if any(fault.place.startswith("server.listen") for fault in faults):
        # Without it there is a default, which nobody has written.
        file = replace(file, server=replace(file.server, listen=("unix:" + _STAND_IN,)))
    if "server" in wrong:
        wrong |= {f"listener[{index}]" for index in range(len(file.listener))}
    return [
        fault
        for fault in _faults_between(file, directory)
        # Also of a name that is not found while some are not known: the message lists them.
        if _STAND_IN not in fault.message
        and not (fault.place.partition(".")[0] in wrong and _OF_SEVERAL.search(fault.message))
    ]


def _take_out(content: dict[str, Any], place: str) -> None:
    """
    Remove an option which is wrong. Of a list of tables an entry which is none becomes an empty one.
    """
    found = _PLACE.fullmatch(place)
    if found is None or place in content:
        # A name can be quoted, and look like a place.
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


def _check_addresses(file: _File, faults: list[Fault]) -> None:
    listen = file.server.listen or (() if file.listener else (DEFAULT_LISTEN,))
    named = {f"server.listen[{index}]": endpoint for index, endpoint in enumerate(listen)}
    named |= {f"listener[{index}].endpoint": one.endpoint for index, one in enumerate(file.listener)}
    if file.server.admin is not None:
        named["server.admin"] = file.server.admin
    former: dict[str, TCPAddress | str] = {}
    for place, endpoint in named.items():
        address = listening_address(endpoint)
        if address is None:
            continue
        for other, taken in former.items():
            if excludes(address, taken):
                faults.append(Fault(place, f"{other} listens there already"))
                break
        former[place] = address


_SHARED = (
    *("connections", "memory", "requests", "bodies", "requests_per_second", "bytes_per_second", "spool_size"),
    *("key_requests", "key_bodies", "key_requests_per_second", "key_bytes_per_second", "key_memory"),
)


def _share(amount: int | None, workers: int) -> int | None:
    # 0 is no bound, and stays it; a bound never becomes none. None follows from what is shared.
    return None if amount is None else -(-amount // workers)


def share_of(settings: Settings, workers: int) -> Settings:
    """
    Return what one of several processes may use: limits are for all of them together, the admin endpoint is nobody's.
    """
    limits = settings.limits
    shared: dict[str, Any] = {name: _share(getattr(limits, name), workers) for name in _SHARED}
    return replace(
        settings,
        server=replace(settings.server, admin=None),
        limits=replace(limits, **shared),
        backends=tuple(
            replace(backend, connections=max(1, backend.connections // workers)) for backend in settings.backends
        ),
    )


_INHERITED = (
    *("region", "accepted_regions", "domains", "refuse", "post"),
    *("trusted_peers", "proxy_protocol", "trusted_forwarded"),
)


def _with_inherited(listener: ListenerSettings, server: ServerSettings) -> ListenerSettings:
    missing: dict[str, Any] = {name: getattr(server, name) for name in _INHERITED if getattr(listener, name) is None}
    return replace(listener, **missing)


def _check_trust(file: _File, faults: list[Fault]) -> None:
    tables = {f"listener[{index}]": _with_inherited(one, file.server) for index, one in enumerate(file.listener)}
    if file.server.listen or not tables:
        tables["server"] = _with_inherited(ListenerSettings(endpoint=DEFAULT_LISTEN), file.server)
    for place, table in tables.items():
        for name in ("proxy_protocol", "trusted_forwarded"):
            if getattr(table, name) not in {False, "none"} and not table.trusted_peers:
                faults.append(Fault(f"{place}.{name}", "has no use without trusted_peers"))


_PATHS = ("unix_socket", "ca_file", "client_certificate_file", "client_private_key_file")


def _with_paths(backend: BackendSettings, directory: Path) -> BackendSettings:
    paths: dict[str, Any] = {name: getattr(backend, name) for name in _PATHS}
    absolute: dict[str, Any] = {name: str(directory / path) for name, path in paths.items() if path is not None}
    return replace(backend, **absolute)


def _check_backends(file: _File, directory: Path, faults: list[Fault]) -> None:
    """
    Find what is wrong between options, each of which alone is right.
    """
    if not file.backend:
        faults.append(Fault("backend", "at least one [[backend]] is required"))
    _check_names("backend", [backend.name for backend in file.backend], faults)
    for index, backend in enumerate(file.backend):
        place = f"backend[{index}]"
        _check_places(backend, place, faults)
        is_pair = (backend.client_certificate_file is None) == (backend.client_private_key_file is None)
        if not is_pair:
            faults.append(Fault(place, "client_certificate_file and client_private_key_file go together"))
        if backend.payload == "chunks" and backend.signature != "v4":
            faults.append(Fault(f"{place}.payload", f'"chunks" is for signature "v4", not "{backend.signature}"'))
        for name in ("ca_file", "client_certificate_file", "client_private_key_file"):
            path = getattr(backend, name)
            if path is None:
                continue
            if not all(at.is_tls for at in backend.places):
                faults.append(Fault(f"{place}.{name}", "is for a url which begins with https"))
            elif not os.access(directory / path, os.R_OK):
                faults.append(Fault(f"{place}.{name}", f"{directory / path}: cannot be read"))
            elif (is_pair or name == "ca_file") and not _holds_pem(
                directory / path, is_key=name == "client_private_key_file"
            ):
                wanted = "private key" if name == "client_private_key_file" else "certificate"
                faults.append(Fault(f"{place}.{name}", f"{directory / path}: holds no PEM {wanted}"))


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
        faults.append(Fault(f"{place}.unix_socket", "is for one url"))
    seen: set[str] = set()
    for number, at in enumerate(places):
        if at.authority in seen:
            faults.append(Fault(f"{place}.urls[{number}]", f"{at.authority} is there twice"))
        if (at.is_tls, at.service_path) != (places[0].is_tls, places[0].service_path):
            faults.append(Fault(f"{place}.urls[{number}]", "must begin and end as the first: all are one storage"))
        seen.add(at.authority)


def _check_names(table: str, names: Iterable[str], faults: list[Fault]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name, index)
        if first != index:
            faults.append(Fault(f"{table}[{index}].name", f'"{name}" is the name of {table}[{first}] already'))


def _check_backend_keys(file: _File, faults: list[Fault]) -> None:
    backends = {backend.name: backend for backend in file.backend}
    _check_names("backend_key", [key.name for key in file.backend_key], faults)
    for index, key in enumerate(file.backend_key):
        place = f"backend_key[{index}].backend"
        if key.backend not in backends:
            faults.append(Fault(place, accepted_names(key.backend, backends)))
        elif backends[key.backend].signature == "none":
            faults.append(Fault(place, f'requests to "{key.backend}" are not signed: its signature is "none"'))


def _check_routes(file: _File, faults: list[Fault]) -> None:
    backends = [backend.name for backend in file.backend]
    former: dict[str, str] = {}
    for index, route in enumerate(file.route):
        place = f"route[{index}]"
        if route.backend not in backends:
            faults.append(Fault(f"{place}.backend", accepted_names(route.backend, backends)))
        for pattern in route.bucket:
            if pattern in former:
                faults.append(Fault(f"{place}.bucket", f'"{pattern}" is in {former[pattern]} already'))
            elif first := next((known for known in former if covers(known, pattern)), None):
                why = f'{former[first]} has "{first}", and the first which matches holds'
                faults.append(Fault(f"{place}.bucket", f'"{pattern}" never comes to matter: {why}'))
            former.setdefault(pattern, place)


def _check_spool(server: ServerSettings, directory: Path, faults: list[Fault]) -> None:
    path = directory / server.spool_directory
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        faults.append(Fault("server.spool_directory", f"{path}: is no directory to write to"))


def _multipart_directory(server: ServerSettings, directory: Path) -> str | None:
    return str(directory / server.multipart_directory) if server.multipart_directory is not None else None


def _check_commit(file: _File, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        if backend.commit == "tail" and backend.spool_up_to is not None:
            why = '`commit = "tail"` spools no body: leave one of the two out'
            faults.append(Fault(f"backend[{index}].spool_up_to", why))


def _check_hosts(file: _File, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        misread = PROFILES[backend.profile].misread_hosts
        # Whichever it connects to, it tells the first one's host.
        if misread is not None and backend.places and misread.search(backend.places[0].authority) is not None:
            why = f'a {backend.profile} takes what is before ".walrus" in its host for a bucket: name it by its address'
            option = "url" if backend.url is not None else "urls"
            faults.append(Fault(f"backend[{index}].{option}", why))


def _check_multipart(file: _File, directory: Path, faults: list[Fault]) -> None:
    for index, backend in enumerate(file.backend):
        place = f"backend[{index}].multipart"
        profile = PROFILES[backend.profile]
        may_keep = profile.keeps_former_parts and backend.multipart == "spool"
        if backend.multipart is not None and not (profile.lacks_multipart or may_keep):
            lacking = ", ".join(sorted(profile.name for profile in PROFILES.values() if profile.lacks_multipart))
            why = f"a {backend.profile} has multipart uploads of its own; this is for profile {lacking}"
            faults.append(Fault(place, why))
    named = _multipart_directory(file.server, directory)
    if named is not None:
        path = Path(named)
        if not (path.is_dir() or path.parent.is_dir()):
            faults.append(Fault("server.multipart_directory", f"{path.parent}: is no directory"))


def _check_access_log(log: LogSettings, directory: Path, faults: list[Fault]) -> None:
    path = directory / log.access
    if log.access in {"-", "none"}:
        return
    if not path.parent.is_dir():
        faults.append(Fault("log.access", f"{path.parent}: is no directory"))
    elif path.is_dir():
        faults.append(Fault("log.access", f"{path}: is a directory"))


# Files of secrets


_PRIVATE_KEY = re.compile(r"\bprivateKey=((?:[^:\\]|\\.)+)")


def exposed_files(configuration: Configuration, path: Path, settings: Settings) -> Iterator[tuple[Path, str]]:
    """
    Find the files that other users of the machine can read though secrets are in them, or can change or replace.

    Args:
        path: The file of the configuration.

    Returns:
        Each file with what is wrong, in words for an operator.
    """
    tables = [*configuration.content.get("backend", []), *configuration.content.get("backend_key", [])]
    secret_paths = {settings.keys_file}
    secret_paths |= {configuration.directory / table[_SECRET_FILE] for table in tables if _SECRET_FILE in table}
    secret_paths |= {Path(name) for one in settings.backends if (name := one.client_private_key_file) is not None}
    for listener in settings.listeners:
        # Twisted takes these from the working directory.
        named = [Path(name.replace("\\", "")) for name in _PRIVATE_KEY.findall(listener.endpoint)]
        secret_paths |= {file for file in named if file.is_file()}
    if any(_SECRET in table for table in tables):
        secret_paths.add(path)
    for each in sorted(secret_paths | {path}):
        mode = stat.S_IMODE(each.stat().st_mode)
        needed = f"(its mode is {mode:04o}); use chmod 600"
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield each, f"{_whose(mode, stat.S_IWOTH)} can change it {needed}"
        elif each in secret_paths and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield each, f"{_whose(mode, stat.S_IROTH)} can read the secrets in it {needed}"
    for directory in sorted({each.absolute().parent for each in secret_paths | {path}}):
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield directory, f"{_whose(mode, stat.S_IWOTH)} can replace files in it (its mode is {mode:04o})"


def _whose(mode: int, of_others: int) -> str:
    return "every user of this machine" if mode & of_others else "every user of its group"


# Secrets of our keys on backends

_SECRET, _SECRET_FILE = "secret_access_key", "secret_access_key_file"
_SECRET_OPTIONS = (_SECRET, _SECRET_FILE, "secret_access_key_env")


def _read_secrets(
    content: Mapping[str, Any], name: str, directory: Path, environment: Mapping[str, str], faults: list[Fault]
) -> list[str | None]:
    """
    Find each table's secret: looked at even where something else in the file is wrong, so that all faults are told.

    Args:
        name: Of the tables.
    """
    tables = content.get(name, [])
    if not isinstance(tables, list):
        return []
    secrets: list[str | None] = []
    for index, table in enumerate(tables):
        secrets.append(None)
        place = f"{name}[{index}]"
        if isinstance(table, dict) and _is_signed_for(name, table, place, faults):
            try:
                secrets[index] = _read_secret(table, place, directory, environment)
            except Faults as error:
                faults += error.faults
    return secrets


def _is_signed_for(name: str, table: Mapping[str, Any], place: str, faults: list[Fault]) -> bool:
    """
    Say whether a table must have a key, and note whatever it has, or lacks, beside its secret.
    """
    if name != "backend":
        return True
    if table.get("signature") == "none":
        needless = [option for option in ("access_key_id", *_SECRET_OPTIONS) if option in table]
        faults += [Fault(f"{place}.{option}", 'has no use where signature is "none"') for option in needless]
        return False
    if "access_key_id" not in table:
        faults.append(Fault(f"{place}.access_key_id", 'is required, unless signature is "none"'))
    return True


def _read_secret(table: Mapping[str, Any], place: str, directory: Path, environment: Mapping[str, str]) -> str | None:
    given = [name for name in _SECRET_OPTIONS if name in table]
    if len(given) != 1:
        why = f"exactly one of {', '.join(_SECRET_OPTIONS)} is required; there are {len(given)}"
        raise Faults([Fault(place, why)])
    value = table[given[0]]
    if not isinstance(value, str):
        # The option's own check tells it.
        return None
    if given[0] == "secret_access_key_env":
        secret = environment.get(value, "")
        if not secret or not secret.isprintable():
            raise Faults([Fault(f"{place}.{given[0]}", f"the variable {value} is not set, or not one line of text")])
        return secret
    if given[0] == "secret_access_key_file":
        return _read_secret_file(directory / value, f"{place}.{given[0]}")
    return value


def _read_secret_file(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_SIZE + 1)
    except OSError as error:
        raise Faults([Fault(place, f"{path}: {error.strerror}")]) from None
    secret = content.decode("utf-8", "replace").strip()
    if not secret or not secret.isprintable() or len(content) > MAX_SECRET_FILE_SIZE or "\ufffd" in secret:
        raise Faults([Fault(place, f"{path}: must hold one line of text, the secret")])
    return secret
