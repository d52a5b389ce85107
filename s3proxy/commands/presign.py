"""
The ``s3proxy presign`` command: print a URL that gives anyone who has it access for a limited time.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from s3proxy.configuration.tables import Faults
from s3proxy.credentials.source import ANY_NAMES, open_source
from s3proxy.resign.presign import CannotPresign, presign
from s3proxy.s3.credential import Credential

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
"Methods of S3 whose requests are signed."

WRONG = 1
"Exit status if a URL cannot be made."


def add_presign(parser: argparse.ArgumentParser) -> None:
    """
    Add the command's options.
    """
    parser.add_argument("url", help="URL of the object as the client requests it: http://127.0.0.1:9000/bucket/key")
    parser.add_argument(
        "--method",
        type=str.upper,
        choices=METHODS,
        default="GET",
        help="method that the URL is valid for (default: GET)",
    )
    parser.add_argument("--expires", type=int, default=3600, help="seconds that the URL is valid for (default: 3600)")
    parser.add_argument("--keys", type=Path, default=Path("keys.toml"), help="the keys file (default: keys.toml)")
    parser.add_argument("--access-key-id", help="the key that signs (default: the only key in the file)")
    parser.add_argument(
        "--signature", choices=("v4", "v4a", "v2"), default="v4", help="signature version (default: v4)"
    )
    parser.add_argument("--region", default="us-east-1", help="the listener's region (default: us-east-1)")
    parser.add_argument("--domain", help="domain of a virtual-hosted-style URL; required to sign it with Signature V2")


def run_presign(options: argparse.Namespace) -> int:
    """
    Print a URL and return the exit status.
    """
    try:
        credential = _choose(options.keys, options.access_key_id)
        url = presign(
            options.url,
            credential,
            datetime.now(UTC),
            method=options.method,
            expires=options.expires,
            signature=options.signature,
            region=options.region,
            domain=options.domain,
        )
    except Faults as error:
        for told in error.told:
            print(told, file=sys.stderr)
        return WRONG
    except CannotPresign as error:
        print(error, file=sys.stderr)
        return WRONG
    print(url)
    return 0


def _choose(path: Path, access_key_id: str | None) -> Credential:
    keys = open_source(f"file:{path}", Path(), ANY_NAMES).list_credentials() or ()
    if access_key_id is None:
        if len(keys) != 1:
            raise CannotPresign(f"{path} contains {len(keys)} keys: --access-key-id is required")
        return next(iter(keys))
    for credential in keys:
        if credential.access_key_id == access_key_id:
            return credential
    raise CannotPresign(f"{path} contains no key {access_key_id}")
