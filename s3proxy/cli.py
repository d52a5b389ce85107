"""
The ``s3proxy`` command: check a configuration, examine a storage, presign a URL, see a demonstration. The daemon is
``twistd s3proxy``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from s3proxy import __version__
from s3proxy.config import exposed_files, read_configuration
from s3proxy.credentials.file import read_keys
from s3proxy.doctor.command import add_doctor, run_doctor
from s3proxy.presign import add_presign, run_presign
from s3proxy.resign.profiles import PROFILES
from s3proxy.s3.credential import Credential
from s3proxy.settings import MAX_PORT, Settings
from s3proxy.tables import Faults

WRONG = 1
"Exit status where a file is not as it must be."


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit status.
    """
    parser = argparse.ArgumentParser(
        prog="s3proxy", description="A reverse proxy which lets today's S3 clients use yesterday's S3 storage."
    )
    parser.add_argument("--version", action="version", version=f"s3proxy {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say every fault of a configuration file, with its place")
    check.add_argument("file", type=Path, help="the configuration (TOML); the keys file it names is checked, too")
    demo = commands.add_parser("demo", help="show what s3proxy does, then serve until Ctrl-C")
    demo.add_argument("--once", action="store_true", help="end after the show")
    demo.add_argument("--port", type=_port, default=0, help="where to listen for http; https gets the next one")
    add_presign(commands.add_parser("presign", help="print a URL which gives access for a while"))
    add_doctor(commands.add_parser("doctor", help="try out what a storage does; say which profile fits"))
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options.file)
    if options.command == "presign":
        return run_presign(options)
    if options.command == "doctor":
        return run_doctor(options)
    if find_spec("boto3") is None:
        print("the demonstration needs boto3: pip install 'txs3proxy[demo]'", file=sys.stderr)
        return WRONG
    from s3proxy.demo import run_demo

    return run_demo(once=options.once, port=options.port)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not 0 <= port < MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to {MAX_PORT - 1}, with one for https behind it")
    return port


def _check(path: Path) -> int:
    checked = path
    try:
        configuration = read_configuration(path)
        settings = configuration.settings()
        checked = settings.keys_file
        keys = read_keys(
            checked,
            [backend.name for backend in settings.backends],
            backend_keys={key.name: key.backend for key in settings.backend_keys},
        )
    except Faults as error:
        for fault in error.faults:
            print(f"{checked}: {fault}", file=sys.stderr)
        return WRONG
    chosen = {table["name"] for table in configuration.content["backend"] if "commit" in table}
    for backend in settings.backends:
        is_chosen = backend.name in chosen
        if backend.commit == "tail" and not is_chosen and not PROFILES[backend.profile].proves_tail:
            print(
                f'note: backend "{backend.name}": profile "{backend.profile}" does not prove that a body which is '
                "reset before its end is dropped; `s3proxy doctor` tries it on the backend itself, and `commit`, "
                "written out, says that you know"
            )
    shared = _shared_keys(settings, keys.values())
    if shared:
        told = ", ".join(f"{number} client keys share {name}" for name, number in shared.items())
        print(f"warning: {told}; without access rules each of them can read, change and delete what the others can")
    for file, why in exposed_files(configuration, path, settings):
        print(f"warning: {file}: {why}")
    print(f"{path}: ok, {len(settings.backends)} backends, {len(keys)} keys")
    return 0


def _shared_keys(settings: Settings, keys: Iterable[Credential]) -> dict[str, int]:
    """
    Count the clients' keys without access rules for which the same key of ours signs.
    """
    signed = {backend.name for backend in settings.backends if backend.signature != "none"}
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
