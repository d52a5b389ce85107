"""
Have the oracle watch in child processes: this directory is on their ``PYTHONPATH``.

Python imports it in every interpreter that the tests start. It does nothing until a module of s3proxy is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder

_HERE = os.path.dirname(os.path.abspath(__file__))
_MODULES = frozenset(
    {
        "s3proxy.backend.agent",
        "s3proxy.backend.connection",
        "s3proxy.frontend.application",
        "s3proxy.frontend.channel",
        "s3proxy.frontend.request",
        "s3proxy.exchange.context",
        "s3proxy.exchange.exchange",
    }
)


def _tap():
    """
    Load the oracle under a name of its own: the directory of the tests need not be on the path.
    """
    if "s3proxy_oracle.tap" not in sys.modules:
        directory = os.path.dirname(_HERE)
        spec = importlib.util.spec_from_file_location(
            "s3proxy_oracle", os.path.join(directory, "__init__.py"), submodule_search_locations=[directory]
        )
        package = importlib.util.module_from_spec(spec)
        sys.modules["s3proxy_oracle"] = package
        spec.loader.exec_module(package)
        import pathlib

        from s3proxy_oracle import tap

        tap.ORACLE.report_to(pathlib.Path(os.environ["S3PROXY_ORACLE"]))
    return sys.modules["s3proxy_oracle.tap"]


class _Patching(Loader):
    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        _tap().patch(module)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in _MODULES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Patching(spec.loader)
        return spec


if "S3PROXY_ORACLE" in os.environ:
    sys.meta_path.insert(0, _Finder())


def _load_the_other():
    """
    Run the interpreter's own module of this name, which this one hides.
    """
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != _HERE])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_load_the_other()
