"""
The secrets of ``s3proxy keys``: where they come from, and how one that was made is shown once.

A secret is never an argument: every user of the machine can read the arguments of a process, and a shell keeps them in
its history.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import secrets
import string
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from s3proxy.configuration.secrets import read_secret_file, read_secret_variable
from s3proxy.configuration.tables import Fault, Faults

SECRET_LENGTH = 40
"""
Characters of a secret that is made, as many as Amazon's have: 238 bits of chance.
"""

KEY_ID_LENGTH = 20
"""
Characters of an access key id that is made, as many as Amazon's have: 100 bits of chance.
"""

_OF_SECRET = string.ascii_letters + string.digits
"Nothing that a shell, a URL or an INI file reads otherwise."

_OF_KEY_ID = string.ascii_uppercase + "234567"
"Without 0, 1, 8 and 9, which resemble letters."


class NoSecret(Exception):
    """
    The operator gave no secret; the text says why.
    """


def add_secret_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that say where a secret comes from, and where one that is made goes to.
    """
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--secret-prompt", action="store_true", help="ask for the secret (default: make one)")
    source.add_argument("--secret-file", type=Path, help="file with the secret in one line")
    source.add_argument("--secret-env", help="environment variable with the secret")
    parser.add_argument(
        "--output",
        type=Path,
        help="new file of mode 0600 for the secret that is made, which AWS clients can read "
        "(default: it is shown once, on standard output)",
    )


def make_access_key_id() -> str:
    """
    Return a new access key id.
    """
    return "".join(secrets.choice(_OF_KEY_ID) for _ in range(KEY_ID_LENGTH))


def make_secret() -> str:
    """
    Return a new secret.
    """
    return "".join(secrets.choice(_OF_SECRET) for _ in range(SECRET_LENGTH))


def given_secret(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> str | None:
    """
    Return the secret that the operator gives; None if one is to be made.

    Raises:
        Faults: The file or the variable has no secret.
        NoSecret: There is no terminal to ask on, or the operator gave two different ones.
    """
    if options.secret_prompt:
        return _asked()
    if options.secret_file is not None:
        return read_secret_file(options.secret_file, "--secret-file")
    if options.secret_env is not None:
        return read_secret_variable(options.secret_env, "--secret-env", environment)
    return None


def _asked() -> str:
    if not sys.stdin.isatty():
        raise NoSecret("--secret-prompt requires a terminal; use --secret-file or --secret-env")
    with warnings.catch_warnings():
        # If the terminal cannot be told to be silent, the secret would be seen.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            secret = getpass.getpass("Secret access key: ")
            again = getpass.getpass("The same again: ")
        except getpass.GetPassWarning:
            raise NoSecret("the terminal would show the secret; use --secret-file or --secret-env") from None
        except EOFError:
            raise NoSecret("no secret was given") from None
    if not secret or not secret.isprintable():
        raise NoSecret("a secret must be one line of printable text")
    if secret != again:
        raise NoSecret("the two secrets differ; nothing was changed")
    return secret


def profile_of(access_key_id: str, secret: str) -> str:
    """
    Return a key as AWS clients read it from ``~/.aws/credentials``.
    """
    return f"[default]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n"


@contextmanager
def kept_in(path: Path | None, text: str) -> Iterator[None]:
    """
    Write a new file that only this user can read, before the source changes: a secret that nobody has is of no use. If
    the change fails, the file is removed again.

    Args:
        path: The file; None to write none.

    Raises:
        Faults: The file exists, or cannot be written.
    """
    if path is None:
        yield
        return
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Faults([Fault("--output", f"{path}: {os.strerror(error.errno or 0)}")]) from None
    try:
        _write(fd, text, path)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _write(fd: int, text: str, path: Path) -> None:
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
    except OSError as error:
        raise Faults([Fault("--output", f"{path}: {os.strerror(error.errno or 0)}")]) from None


def show(text: str, output: TextIO | None) -> bool:
    """
    Write a secret to standard output; return False if nobody can have read it.
    """
    if output is None:
        return False
    try:
        output.write(text)
        output.flush()
    except OSError:
        # Python flushes it again at its end, and would report the error a second time.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        return False
    return True
