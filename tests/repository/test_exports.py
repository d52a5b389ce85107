"""
The package itself has the names that an application needs, and imports each when it is first used.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import s3proxy
from tests.support.root import ROOT

WITHOUT_IO = [
    *("Access", "AccessDenied", "AccessRequest", "Authenticated", "AwsChunkedDecoder", "Credential", "Realm"),
    *("S3Error", "Scope", "parse_address", "parse_body_digests", "parse_request_head", "read_claim", "verify_claim"),
]


def loaded_by(code: str) -> set[str]:
    """
    Return the modules of s3proxy and Twisted that a fresh interpreter has after some code.
    """
    told = f"{code}\nimport sys\nprint(*[name for name in sys.modules if name.startswith(('s3proxy', 'twisted'))])"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(ran.stdout.split())


def typed_names() -> dict[str, str]:
    """
    Return the names that type checkers see, each with its module.
    """
    tree = ast.parse((ROOT / "s3proxy/__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module).removeprefix("s3proxy.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_see_what_there_is() -> None:
    """
    Each name is declared, imported from the same place, and in `__all__`.
    """
    places = {name: room for room, names in s3proxy._PLACES.items() for name in names}

    assert typed_names() == places
    assert {*places, "__version__"} == set(s3proxy.__all__)
    assert s3proxy.__all__ == sorted(s3proxy.__all__)
    for name, room in places.items():
        assert getattr(s3proxy, name) is getattr(sys.modules[f"s3proxy.{room}"], name)


def test_the_package_alone_imports_nothing() -> None:
    """
    A command or a worker that imports one room does not pay for all of them.
    """
    assert loaded_by("import s3proxy") == {"s3proxy", "s3proxy.s3", "s3proxy.s3.version"}


def test_the_verifier_and_the_decoder_need_no_twisted() -> None:
    """
    They can be used in any program.
    """
    loaded = loaded_by(f"from s3proxy import {', '.join(WITHOUT_IO)}")

    assert "s3proxy.authentication.verdict" in loaded
    assert {name for name in loaded if name.startswith("twisted")} == set()


def test_no_name_imports_a_reactor() -> None:
    """
    The application chooses its own.
    """
    loaded = loaded_by("from s3proxy import *")

    assert "twisted.internet" in loaded
    assert "twisted.internet.reactor" not in loaded


def test_the_names_are_listed() -> None:
    """
    A reader at a prompt finds them.
    """
    ran = [sys.executable, "-c", "import s3proxy; print(*dir(s3proxy))"]
    listed = subprocess.run(ran, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()

    assert set(s3proxy.__all__) <= set(listed)


def test_a_name_that_does_not_exist() -> None:
    """
    The error is Python's own.
    """
    name = "ProxyServise"

    with pytest.raises(AttributeError, match="has no attribute 'ProxyServise'"):
        getattr(s3proxy, name)
