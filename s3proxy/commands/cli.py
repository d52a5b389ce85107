"""
The ``s3proxy`` command: check a configuration, manage keys, examine a storage system, presign a URL, run a
demonstration. The daemon is ``twistd s3proxy``.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from s3proxy import __version__
from s3proxy.commands.keys import add_keys, run_keys
from s3proxy.commands.may import UnknownWord, explain
from s3proxy.commands.presign import add_presign, run_presign
from s3proxy.commands.unchecked import likely_credentials, likely_rules
from s3proxy.configuration.certificates import certificate_warnings
from s3proxy.configuration.endpoints import MAX_PORT
from s3proxy.configuration.exposure import exposed_files
from s3proxy.configuration.loading import Configuration, read_configuration
from s3proxy.configuration.options import Settings
from s3proxy.configuration.tables import Faults, counted
from s3proxy.credentials.source import count_keys, open_source
from s3proxy.doctor.command import add_doctor, run_doctor
from s3proxy.interfaces import ICredentialSource
from s3proxy.multipart.directory import NoDirectory, find_directory
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.account import SignatureVersion
from s3proxy.s3 import native
from s3proxy.s3.bucket_pattern import covers
from s3proxy.s3.credential import Credential
from s3proxy.transport.certificates import CertificateError

WRONG = 1
"Exit status if a file has errors."


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command and return its exit status.
    """
    parser = argparse.ArgumentParser(
        prog="s3proxy",
        description="A reverse proxy that lets current S3 clients use older S3-compatible storage systems.",
    )
    version = f"s3proxy {__version__} (native rooms: {native.describe()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="report the errors in a configuration file, each with its location")
    check.add_argument("file", type=Path, help="the configuration file (TOML); the keys of clients are checked, too")
    check.add_argument(
        "--may",
        nargs=3,
        metavar=("KEY", "ACTION", "BUCKET/KEY"),
        help="say instead whether a key may do something, and which of its rules decides; the exit status is 1 if not",
    )
    demo = commands.add_parser("demo", help="run a demonstration, then serve until Ctrl-C")
    demo.add_argument("--once", action="store_true", help="exit after the demonstration")
    demo.add_argument("--port", type=_port, default=0, help="the port for http; https uses the next one")
    add_presign(commands.add_parser("presign", help="print a presigned URL"))
    add_keys(commands.add_parser("keys", help="list, add, rotate, disable, enable or remove keys of clients"))
    add_doctor(commands.add_parser("doctor", help="probe a storage system and suggest a profile"))
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options.file, options.may)
    if options.command == "presign":
        return run_presign(options)
    if options.command == "keys":
        return run_keys(options)
    if options.command == "doctor":
        return run_doctor(options)
    lacking = [name for name in ("boto3", "trustme") if find_spec(name) is None]
    if lacking:
        told = f"the demonstration requires {' and '.join(lacking)}: pip install {' '.join(lacking)}"
        print(told, file=sys.stderr)
        return WRONG
    from s3proxy.commands.demo import run_demo

    return run_demo(once=options.once, port=options.port)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not 0 <= port < MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to {MAX_PORT - 1} (https uses the next one)")
    return port


def _check(path: Path, asked: Sequence[str] | None) -> int:
    told: list[str] = []
    settings, source = None, None
    try:
        configuration = read_configuration(path)
    except Faults as error:
        return _wrong(fault.told_of(path) for fault in error.faults)
    try:
        settings = configuration.settings()
    except Faults as error:
        told += [fault.told_of(path) for fault in error.faults]
    # The keys are checked even if the configuration is wrong, so that all errors are reported.
    credentials = settings.credentials if settings is not None else likely_credentials(configuration)
    try:
        if credentials is not None:
            source = open_source(credentials.source, configuration.directory, likely_rules(configuration, credentials))
    except Faults as error:
        told += [fault.told_of(error.path or path) for fault in error.faults]
    if settings is None or source is None:
        return _wrong(told)
    if asked is not None:
        return _explain(source.list_credentials(), *asked)
    try:
        expiring = list(certificate_warnings(settings, datetime.now(UTC)))
    except CertificateError as error:
        return _wrong([str(error)])
    for warning in (*expiring, *_unknown_client_keys(settings, source)):
        print(f"warning: {warning}")
    _warn(configuration, path, settings, source)
    print(f"{path}: ok, {counted(len(settings.backends), 'backend')}, {count_keys(source)}")
    return 0


def _explain(keys: Collection[Credential] | None, key_id: str, action: str, resource: str) -> int:
    if keys is None:
        return _wrong(["this source cannot list its keys"])
    try:
        is_allowed, why = explain(keys, key_id, action, resource)
    except UnknownWord as error:
        return _wrong([str(error)])
    print(f"{'allowed' if is_allowed else 'refused'}: {why}")
    return 0 if is_allowed else WRONG


def _warn(configuration: Configuration, path: Path, settings: Settings, source: ICredentialSource) -> None:
    """
    Print what is accepted, and probably not meant.
    """
    for backend in settings.backends:
        if backend.commit is None and not PROFILES[backend.profile].proves_tail:
            print(
                f'note: backend "{backend.name}": profile "{backend.profile}" does not guarantee that the backend '
                "drops a body that is reset before its end; test the backend with `s3proxy doctor`, and set `commit` "
                "to confirm your choice"
            )
        if backend.signature == SignatureVersion.V4 and PROFILES[backend.profile].lacks_v4:
            print(
                f'warning: backend "{backend.name}": profile "{backend.profile}" does not know Signature V4; '
                'set `signature = "v2"`'
            )
    if native.find() is not None and native.NATIVE is None:
        print(f"warning: native rooms: {native.describe()}")
    for why in _unsigned_buckets(settings):
        print(f'note: {why}: its signature is "none"')
    limits = settings.limits
    if limits.key_memory is not None and limits.key_memory > limits.memory:
        print("note: limits.key_memory has no effect above limits.memory, the limit for all keys together")
    if limits.key_multipart_size is not None and limits.key_multipart_size > limits.multipart_size:
        print(
            "note: limits.key_multipart_size has no effect above limits.multipart_size, the limit for all keys together"
        )
    for line in _multipart_places(settings):
        print(line)
    shared = _shared_keys(settings, source.list_credentials() or ())
    if shared:
        sharing = ", ".join(f"{number} client keys share {name}" for name, number in shared.items())
        print(f"warning: {sharing}; without access rules each can read, change and delete the objects of the others")
    for file, why in exposed_files(configuration, path, settings, source):
        print(f"warning: {file}: {why}")


def _wrong(told: Iterable[str]) -> int:
    for line in told:
        print(line, file=sys.stderr)
    return WRONG


def _unsigned_buckets(settings: Settings) -> Iterator[str]:
    """
    Yield a message for each bucket in `anonymous.signed_buckets` whose backend gets unsigned requests.
    """
    unsigned = {backend.name for backend in settings.backends if backend.signature == SignatureVersion.NONE}
    for pattern in settings.anonymous.signed_buckets:
        routed = (route.backend for route in settings.routes if any(covers(one, pattern) for one in route.bucket))
        backend = next(routed, settings.backends[0].name)
        if backend in unsigned:
            yield f'anonymous.signed_buckets: "{pattern}" is on backend "{backend}", whose requests are not signed'


def _unknown_client_keys(settings: Settings, source: ICredentialSource) -> Iterator[str]:
    """
    Yield a message for each access key of `client_keys` that no request can be authenticated as.
    """
    listed = source.list_credentials()
    if listed is None:
        return
    known = {each.access_key_id: each for each in listed}
    for name, key in dict.fromkeys(pair for listener in settings.listeners for pair in listener.client_keys):
        found = known.get(key)
        if found is None or found.is_disabled:
            yield f'client_keys: "{name}": the key "{key}" is {"unknown" if found is None else "disabled"}'
        elif found.session_token is not None:
            yield f'client_keys: "{name}": the key "{key}" is temporary, and needs a session token'


def _multipart_places(settings: Settings) -> Iterator[str]:
    """
    Yield a line about the place of the multipart uploads, for each backend whose storage system has none.
    """
    named = settings.server.multipart_directory
    for backend in settings.backends:
        if not backend.keeps_multipart:
            continue
        of_backend = f'backend "{backend.name}": multipart uploads'
        try:
            directory = find_directory(named)
        except NoDirectory as error:
            yield f"warning: {of_backend} are refused: server.multipart_directory is required: {error}"
        else:
            condition = "" if named is not None else f", if the daemon runs as user {_user()}"
            yield f"note: {of_backend} are kept in {directory}{condition}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _shared_keys(settings: Settings, keys: Iterable[Credential]) -> dict[str, int]:
    """
    Count the client keys without access rules that share a key on a backend.
    """
    signed = {backend.name for backend in settings.backends if backend.signature != SignatureVersion.NONE}
    everywhere = {settings.backends[0].name, *(route.backend for route in settings.routes)}
    counts: Counter[str] = Counter()
    for key in keys:
        if key.is_disabled or key.allow is not None:
            continue
        if key.backend_keys:
            counts.update(f'backend key "{name}"' for name in key.backend_keys)
        else:
            reached = everywhere if key.backend is None else {key.backend}
            counts.update(f'the key of backend "{name}"' for name in sorted(reached & signed))
    return {name: number for name, number in sorted(counts.items()) if number > 1}


if __name__ == "__main__":
    sys.exit(main())
