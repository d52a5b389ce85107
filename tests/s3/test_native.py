"""
Native rooms are used only if they are installed, and are of the version of s3proxy.
"""

from __future__ import annotations

import sys
import tomllib
from configparser import ConfigParser
from types import ModuleType

import pytest

from s3proxy import __version__
from s3proxy.s3.native import describe, find, load
from tests.support.root import ROOT


def install(monkeypatch: pytest.MonkeyPatch, version: str | None) -> ModuleType | None:
    """
    Put a module of a version in the place of the native one; None for no module.
    """
    module = None
    if version is not None:
        module = ModuleType("s3proxy_native")
        vars(module)["__version__"] = version
    # With None in its place, an import fails as if there were no such module.
    monkeypatch.setitem(sys.modules, "s3proxy_native", module)
    return module


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The Python rooms decide everything.
    """
    install(monkeypatch, None)

    assert find() is None
    assert load() is None
    assert describe() == "not installed"


@pytest.mark.parametrize("version", ["0.0.1", "", __version__ + ".dev1", __version__ + " ", "99.0.0"])
def test_another_version_is_not_used(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It could judge in another way.
    """
    module = install(monkeypatch, version)

    assert find() is module
    assert load() is None
    assert "not used" in describe()
    assert version in describe()


def test_a_module_without_a_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is somebody else's.
    """
    monkeypatch.setitem(sys.modules, "s3proxy_native", ModuleType("s3proxy_native"))

    assert load() is None
    assert describe() == "not used, because they are of version unknown"


def test_the_same_version_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its functions are asked first.
    """
    module = install(monkeypatch, __version__)

    assert find() is module
    assert load() is module
    assert describe() == "in use"


def test_the_versions_are_one() -> None:
    """
    The crate and the extra have the version of the package.
    """
    crate = tomllib.loads((ROOT / "native/Cargo.toml").read_text("utf-8"))["package"]
    project = tomllib.loads((ROOT / "native/pyproject.toml").read_text("utf-8"))["project"]
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")

    assert crate["version"] == __version__
    # maturin takes it from the crate.
    assert project["dynamic"] == ["version"]
    assert setup["options.extras_require"]["native"].split() == [f"{project['name']}=={__version__}"]
