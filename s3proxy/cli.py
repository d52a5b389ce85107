"""
The ``s3proxy`` command: check a configuration, presign a URL, see a demonstration. The daemon is ``twistd s3proxy``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from s3proxy import __version__
from s3proxy.config import load_settings
from s3proxy.credentials.file import read_keys
from s3proxy.presign import add_presign, run_presign
from s3proxy.resign.profiles import PROFILES
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
    demo.add_argument("--port", type=int, default=0, help="where to listen for http; https gets the next one")
    add_presign(commands.add_parser("presign", help="print a URL which gives access for a while"))
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options.file)
    if options.command == "presign":
        return run_presign(options)
    from s3proxy.demo import run_demo

    return run_demo(once=options.once, port=options.port)


def _check(path: Path) -> int:
    checked = path
    try:
        settings = load_settings(path)
        checked = settings.keys_file
        keys = read_keys(checked, [backend.name for backend in settings.backends])
    except Faults as error:
        for fault in error.faults:
            print(f"{checked}: {fault}", file=sys.stderr)
        return WRONG
    for backend in settings.backends:
        if backend.commit == "tail" and not PROFILES[backend.profile].proves_tail:
            print(
                f'note: backend "{backend.name}": profile "{backend.profile}" does not prove that a body which is '
                "reset before its end is dropped; `s3proxy doctor` tries it on the backend itself"
            )
    print(f"{path}: ok, {len(settings.backends)} backends, {len(keys)} keys")
    return 0


if __name__ == "__main__":
    sys.exit(main())
