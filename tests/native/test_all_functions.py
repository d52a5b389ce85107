"""
No native function is without a comparison, and none without the Python rooms.
"""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from s3proxy import __version__
from s3proxy.s3.native import NATIVE
from tests.support.python_rooms import python_rooms
from tests.support.root import ROOT

pytestmark = pytest.mark.native

COMPARED: dict[str, dict[str, str]] = {
    "Coverage": {"verify": "test_verifying.py"},
    "Heads": {
        "request": "test_heads.py",
        "response": "test_heads.py",
        "learn": "test_heads.py",
        "clear": "test_heads.py",
    },
    "SigningKey": {},
    "signed_head": {"": "test_signing.py"},
}
"""
By class or function of the native module, and by method: the tests that compare it with the Python rooms.
"""


def public(names: object) -> set[str]:
    """
    Return the public names of a module or class. A wheel has the module within a package of the same name.
    """
    return {
        name for name in dir(names) if not name.startswith("_") and not isinstance(getattr(names, name), ModuleType)
    }


def test_each_function_is_compared() -> None:
    """
    Whoever adds a native function adds its comparison, and names it here.
    """
    assert public(NATIVE) == COMPARED.keys()
    for name, methods in COMPARED.items():
        value = getattr(NATIVE, name)
        assert (public(value) if isinstance(value, type) else {""}) == methods.keys()
        for file in methods.values():
            assert (ROOT / "tests/native" / file).is_file()


def test_the_module_is_in_use() -> None:
    """
    By the process that serves, not only by these tests; and not within `python_rooms`.
    """
    from s3proxy.s3 import head, native
    from s3proxy.sigv4.signing_key import SigningKey

    assert native.NATIVE is NATIVE
    assert NATIVE.__version__ == __version__
    assert type(head._NATIVE) is NATIVE.Heads
    assert type(SigningKey(b"a" * 32).native) is NATIVE.SigningKey
    with python_rooms():
        assert head._NATIVE is native.NATIVE is SigningKey(b"a" * 32).native is None
    assert native.NATIVE is NATIVE


def test_a_process_without_it() -> None:
    """
    The same s3proxy runs on the Python rooms alone if the module is not there.
    """
    program = (
        "import sys; sys.modules['s3proxy_native'] = None\n"
        "from s3proxy.s3.native import NATIVE\n"
        "from s3proxy.s3.head import parse_request_head\n"
        "print(NATIVE, parse_request_head(b'GET /b HTTP/1.1\\r\\nHost: a').raw_path)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)

    assert ran.stdout == "None b'/b'\n"
