"""
Which files a reload reads: all that the configuration names, and nothing that the daemon writes.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from s3proxy.configuration.files import read_files
from s3proxy.configuration.loading import load_settings, make_settings, read_configuration
from s3proxy.configuration.options import FILE, TABLES
from s3proxy.configuration.tables import options_of


def make(directory: Path, **tables: Any) -> set[Path]:
    """
    The files of a configuration without a file of its own.
    """
    backend = {"name": "only", "url": "http://127.0.0.1:1", "signature": "none"}
    return read_files(make_settings({"backend": [backend], **tables}, directory))


def test_configuration_and_keys(tmp_path: Path) -> None:
    """
    Their paths are absolute, or start from the directory of the configuration.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text(
        '[[backend]]\nname = "only"\nurl = "http://127.0.0.1:1"\nsignature = "none"\n'
        '[credentials]\nsource = "file:sub/keys.toml"\n[log]\naccess = "access.log"\n'
    )
    expected = {path, tmp_path / "sub" / "keys.toml"}

    assert read_files(load_settings(path)) == expected
    assert read_files(read_configuration(path).settings()) == expected
    assert make(tmp_path) == {tmp_path / "keys.toml"}
    assert make(tmp_path, credentials={"source": "file:/etc/keys.toml"}) == {Path("/etc/keys.toml")}


def test_secrets_and_certificates(tmp_path: Path) -> None:
    """
    Those of backends, backend keys and listeners; not the directories of bodies and uploads, nor a backend's socket.
    """
    (tmp_path / "secret").write_text("a secret\n")
    backend = {"url": "http://127.0.0.1:1", "access_key_id": "OURS", "secret_access_key_file": "secret"}
    found = make(
        tmp_path,
        server={"spool_directory": str(tmp_path), "multipart_directory": "uploads", "listen": ["unix:s3.sock"]},
        backend=[{"name": "first", "unix_socket": "backend.sock", **backend}],
        backend_key=[
            {"name": "k", "backend": "first", "access_key_id": "K", "secret_access_key_file": str(tmp_path / "secret")}
        ],
    )

    assert found == {tmp_path / "keys.toml", tmp_path / "secret"}


def test_certificates_of_an_endpoint(tmp_path: Path) -> None:
    """
    An endpoint string escapes a colon by a backslash. A relative path starts from the configuration's directory.
    """
    settings = make_settings(
        {"backend": [{"name": "only", "url": "http://127.0.0.1:1", "signature": "none"}]}, tmp_path
    )
    (listener,) = settings.listeners
    endpoint = r"ssl:443:privateKey=a\:b.pem:certKey=/etc/cert.pem:extraCertChain=chain.pem:interface=127.0.0.1"
    object.__setattr__(listener, "endpoint", endpoint)

    assert read_files(settings) == {
        tmp_path / "keys.toml",
        tmp_path / "a:b.pem",
        Path("/etc/cert.pem"),
        tmp_path / "chain.pem",
    }


READ = {
    *("ca_file", "client_ca_file", "client_certificate_file", "client_private_key_file"),
    *("password_file", "secret_access_key_file", "secret_file", "token_file"),
}
NOT_READ = {"spool_directory", "multipart_directory", "unix_socket"}


def test_each_path_is_read_or_not() -> None:
    """
    Whoever adds an option with a path decides whether a change of it is a reason for a reload.
    """
    paths = {each.name for table in TABLES.values() for each in options_of(table) if each.kind is FILE}
    (access,) = [each for each in fields(TABLES["[log]"]) if each.name == "access"]

    assert paths == READ | NOT_READ
    assert access.metadata["kind"] is not FILE
