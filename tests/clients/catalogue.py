"""
The clients: how each is installed, and its name in the drivers.

What is installed or built stays below ``~/.cache/s3proxy-tests/clients``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.integration import golang
from tests.integration.swift import CACHE as TESTS_CACHE

CACHE = TESTS_CACHE / "clients"
PROGRAMS = Path(__file__).parent / "programs"
JAVA_COMMON = PROGRAMS / "Conversation.java"
PAGE = PROGRAMS / "browser" / "page.html"


class CannotInstall(Exception):
    """
    A client cannot be installed here. The text says why.
    """


@dataclass(frozen=True)
class Installed:
    """
    A client that can be run.

    Attributes:
        version: Version that the client reports.
        python: The Python interpreter that runs its driver.
        tools: Paths of programs, by name.
    """

    version: str
    python: str = sys.executable
    tools: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientKind:
    """
    A client of the matrix.

    Attributes:
        name: Name in ``drivers``.
        title: Name for readers.
        install: Installs the client if it is missing.
        takes_endpoint_path: Whether its endpoint may have a path.
        is_browser: Whether pages of other origins work in its buckets.
        trusts_machine: Whether it trusts only the authorities that the machine trusts, without an option for another.
    """

    name: str
    title: str
    install: Callable[[], Installed]
    takes_endpoint_path: bool = True
    is_browser: bool = False
    trusts_machine: bool = False


def _run(arguments: list[str], cwd: Path | None = None, **more: str) -> str:
    """
    Run a command of an installation; return its output.

    Raises:
        CannotInstall: The command failed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"AWS_CA_BUNDLE", "PYTHONPATH"}}
    try:
        ran = subprocess.run(
            arguments, cwd=cwd, env={**environment, **more}, capture_output=True, text=True, timeout=900, check=False
        )
    except OSError as error:
        raise CannotInstall(f"{arguments[0]}: {error.strerror}") from None
    if ran.returncode:
        last = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1:]
        raise CannotInstall(f"`{Path(arguments[0]).name}` failed: {' '.join(last)[:200]}")
    return ran.stdout


def _kept(name: str, *made_of: str | bytes) -> tuple[Path, bool]:
    """
    Return the directory for what is installed from these inputs, and whether it is complete.
    """
    digest = hashlib.sha256()
    for item in made_of:
        digest.update(item if isinstance(item, bytes) else item.encode())
    path = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    if (path / "complete").exists():
        return path, True
    print(f"installing {name}", flush=True)
    # An installation that was interrupted must not pass for a whole one.
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path, False


def _python(*requirements: str) -> Callable[[], Path]:
    """
    Return a function that makes a virtual environment with these packages, and returns the directory of its commands.
    """

    @cache
    def install() -> Path:
        path, is_complete = _kept(re.split(r"[\[=<>]", requirements[0])[0], sys.base_prefix, sys.version, *requirements)
        if not is_complete:
            _run([sys.executable, "-m", "venv", str(path)])
            _run([str(path / "bin" / "python"), "-m", "pip", "install", "-q", *requirements])
            (path / "complete").touch()
        return path / "bin"

    return install


def _library(*requirements: str) -> Callable[[], Installed]:
    """
    Return a function that installs a Python library, the first of the requirements.
    """
    make = _python(*requirements)

    def install() -> Installed:
        bin_directory = make()
        return Installed(_package_version(bin_directory, requirements[0]), str(bin_directory / "python"))

    return install


def _package_version(bin_directory: Path, requirement: str) -> str:
    name = re.split(r"[\[=<>]", requirement)[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return _run([str(bin_directory / "python"), "-c", code]).strip()


def _s3cmd() -> Installed:
    bin_directory = _S3CMD()
    return Installed(_package_version(bin_directory, "s3cmd"), tools={"s3cmd": str(bin_directory / "s3cmd")})


_S3CMD = _python("s3cmd==2.4.0")


def apt_install(package: str) -> None:
    """
    Install a Debian package.
    """
    print(f"installing {package}", flush=True)
    more = {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-q"], **more)
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], **more)


def apt_program(package: str, program: str) -> str:
    """
    Return the path of a program of a Debian package; install the package if it is missing.
    """
    found = shutil.which(program, path="/usr/bin:/usr/sbin")
    if found is None:
        apt_install(package)
        found = shutil.which(program, path="/usr/bin:/usr/sbin")
    if found is None:
        raise CannotInstall(f"{package} has no {program}")
    return found


def _aws_cli_2() -> Installed:
    path = apt_program("awscli", "aws")
    version = _run([path, "--version"]).split()[0].rpartition("/")[2]
    if not version.startswith("2."):
        raise CannotInstall(f"Debian's awscli is {version} here")
    return Installed(f"{version}, Debian's", apt_program("python3", "python3"))


def _boto2() -> Installed:
    if sys.version_info >= (3, 12):
        raise CannotInstall("it uses ssl.wrap_socket, which left Python with 3.12")
    return _library("boto==2.49.0", "setuptools<80")()


def _go_module(package: str, version: str) -> Callable[[], Installed]:
    """
    Return a function that builds a program of a public Go module.
    """

    def install() -> Installed:
        try:
            path = golang.install_program(package, version)
        except (subprocess.CalledProcessError, OSError) as error:
            raise CannotInstall(f"building {package} {version}: {error}") from None
        # A pseudo-version is shown as the day of its commit.
        day = re.fullmatch(r"v0\.0\.0-(\d{4})(\d\d)(\d\d)\d{6}-\w+", version)
        shown = "of " + "-".join(day.groups()) if day is not None else version.removeprefix("v")
        return Installed(shown, tools={path.name: str(path)})

    return install


def _go_source(name: str, module: str) -> Callable[[], Installed]:
    """
    Return a function that builds one of our programs in Go.

    Args:
        module: The module whose version is the client's.
    """

    def install() -> Installed:
        sources = PROGRAMS / name
        version = re.search(rf"{re.escape(module)} v(\S+)", (sources / "go.mod").read_text())
        assert version is not None
        path, is_complete = _kept(name, *[source.read_bytes() for source in sorted(sources.iterdir())])
        if not is_complete:
            _run([golang.find_go(), "build", "-o", str(path / name), "."], cwd=sources, CGO_ENABLED="0")
            (path / "complete").touch()
        return Installed(version[1], tools={name: str(path / name)})

    return install


def _node_source(name: str, package: str) -> Callable[[], Installed]:
    """
    Return a function that installs one of our programs for Node.js.

    Args:
        package: The package whose version is the client's.
    """

    def install() -> Installed:
        sources = PROGRAMS / name
        node, npm = apt_program("nodejs", "node"), apt_program("npm", "npm")
        path, is_complete = _kept(name, *[source.read_bytes() for source in sorted(sources.iterdir())])
        if not is_complete:
            shutil.copytree(sources, path, dirs_exist_ok=True)
            _run([npm, "ci", "--no-audit", "--no-fund"], cwd=path)
            (path / "complete").touch()
        version = re.search(rf'{re.escape(package)}": "([^"]+)"', (sources / "package.json").read_text())
        assert version is not None
        return Installed(version[1], tools={"node": node, name: str(path / "main.mjs")})

    return install


def _aws_rust() -> Installed:
    sources = PROGRAMS / "aws-rust"
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if cargo is None:
        raise CannotInstall("no cargo is here, and Debian's is too old for it")
    version = re.search('aws-sdk-s3 = "=([^"]+)"', (sources / "Cargo.toml").read_text())
    assert version is not None
    files = [file for file in sorted(sources.rglob("*")) if file.is_file()]
    path, is_complete = _kept("aws-rust", *[file.read_bytes() for file in files])
    if not is_complete:
        # npm writes its choice of versions beside them.
        shutil.copytree(sources, path, dirs_exist_ok=True)
        _run([cargo, "build", "--quiet"], cwd=path)
        (path / "complete").touch()
    return Installed(version[1], tools={"aws-rust": str(path / "target" / "debug" / "aws-rust")})


def _aws_ruby() -> Installed:
    ruby = apt_program("ruby", "ruby")
    code = 'require "aws-sdk-s3"; puts Aws::S3::GEM_VERSION'
    try:
        version = _run([ruby, "-e", code])
    except CannotInstall:
        apt_install("ruby-aws-sdk-s3")
        version = _run([ruby, "-e", code])
    return Installed(
        f"{version.strip()}, Debian's", tools={"ruby": ruby, "aws-ruby": str(PROGRAMS / "aws-ruby" / "main.rb")}
    )


def _java(name: str, artifact: str) -> Callable[[], Installed]:
    """
    Return a function that compiles one of our programs in Java, with the libraries of its ``pom.xml``.

    Args:
        artifact: The artifact whose version is the client's.
    """

    def install() -> Installed:
        sources = PROGRAMS / name
        version = re.search(
            rf"<artifactId>{re.escape(artifact)}</artifactId>\s*<version>([^<]+)", (sources / "pom.xml").read_text()
        )
        assert version is not None
        files = sorted([*sources.iterdir(), JAVA_COMMON])
        tools = {tool: apt_program("openjdk-17-jdk-headless", tool) for tool in ("java", "javac", "keytool")}
        path, is_complete = _kept(name, *[file.read_bytes() for file in files])
        libraries, classes = path / "lib", path / "classes"
        if not is_complete:
            mvn = apt_program("maven", "mvn")
            copying = ["dependency:copy-dependencies", f"-DoutputDirectory={libraries}"]
            _run([mvn, "-B", "-q", "-f", str(sources / "pom.xml"), *copying])
            written = [str(file) for file in files if file.suffix == ".java"]
            _run([tools["javac"], "-cp", f"{libraries}/*", "-d", str(classes), *written])
            (path / "complete").touch()
        return Installed(version[1], tools={**tools, name: f"{classes}:{libraries}/*"})

    return install


def _chromium() -> Installed:
    tools = {
        "chromium": apt_program("chromium", "chromium"),
        "chromedriver": apt_program("chromium-driver", "chromedriver"),
        # Chromium reads the trusted authorities from an NSS database.
        "certutil": apt_program("libnss3-tools", "certutil"),
        "page": str(PAGE),
    }
    bin_directory = _python("selenium==4.51.0", "boto3==1.44.5")()
    version = _run([tools["chromium"], "--version"]).split()[1]
    return Installed(f"{version}, Debian's", str(bin_directory / "python"), tools)


def _curl() -> Installed:
    path = apt_program("curl", "curl")
    return Installed(_run([path, "--version"]).split()[1], tools={"curl": path})


AWS_JAVA = _java("aws-java", "s3")
MINIO_GO = "github.com/minio/minio-go/v7"
CLIENTS = {
    kind.name: kind
    for kind in (
        ClientKind("boto3", "boto3", _library("boto3==1.44.5")),
        ClientKind("boto3-v2", "boto3 by V2", _library("boto3==1.44.5")),
        ClientKind("boto3-crt", "boto3 on the CRT", _library("boto3[crt]==1.44.5")),
        ClientKind("aioboto3", "aioboto3", _library("aioboto3==15.5.0")),
        ClientKind("s3fs", "s3fs", _library("s3fs==2026.9.0")),
        ClientKind("smart_open", "smart_open", _library("smart_open==9.0.2", "boto3==1.44.5")),
        ClientKind("aws-cli", "AWS CLI v1", _library("awscli==1.46.2")),
        ClientKind("aws-cli-2", "AWS CLI v2", _aws_cli_2),
        ClientKind("s3cmd", "s3cmd", _s3cmd, takes_endpoint_path=False),
        ClientKind("s3cmd-v2", "s3cmd by V2", _s3cmd, takes_endpoint_path=False),
        ClientKind("boto2", "boto 2 by V2", _boto2),
        ClientKind("rclone", "rclone", _go_module("github.com/rclone/rclone", "v1.76.0")),
        ClientKind("rclone-v2", "rclone by V2", _go_module("github.com/rclone/rclone", "v1.76.0")),
        ClientKind("minio-go", "minio-go", _go_source("minio-go", MINIO_GO), takes_endpoint_path=False),
        ClientKind(
            "minio-go-trailers",
            "minio-go with TrailingHeaders",
            _go_source("minio-go", MINIO_GO),
            takes_endpoint_path=False,
        ),
        ClientKind(
            "mc",
            "mc",
            _go_module(*golang.MC),
            takes_endpoint_path=False,
        ),
        ClientKind("minio-py", "minio-py", _library("minio==7.2.20"), takes_endpoint_path=False),
        ClientKind("obstore", "obstore (object_store)", _library("obstore==0.12.1")),
        ClientKind("opendal", "OpenDAL", _library("opendal==0.47.12")),
        ClientKind("pyarrow", "pyarrow", _library("pyarrow==26.0.1"), takes_endpoint_path=False),
        ClientKind("aws-go", "aws-sdk-go-v2", _go_source("aws-go", "github.com/aws/aws-sdk-go-v2/service/s3")),
        ClientKind("aws-js", "AWS SDK for JavaScript v3", _node_source("aws-js", "client-s3")),
        ClientKind("minio-js", "minio-js", _node_source("minio-js", "minio"), takes_endpoint_path=False),
        ClientKind("aws-go-v1", "aws-sdk-go v1", _go_source("aws-go-v1", "github.com/aws/aws-sdk-go")),
        ClientKind("aws-rust", "AWS SDK for Rust", _aws_rust),
        ClientKind("aws-ruby", "AWS SDK for Ruby", _aws_ruby),
        ClientKind("aws-java", "AWS SDK for Java v2", AWS_JAVA),
        ClientKind("aws-java-netty", "AWS SDK for Java v2, asynchronous", AWS_JAVA),
        ClientKind("aws-java-multipart", "AWS SDK for Java v2, multipartEnabled", AWS_JAVA),
        ClientKind("aws-java-crt", "AWS SDK for Java v2 on the CRT", AWS_JAVA, trusts_machine=True),
        ClientKind("aws-java-v1", "AWS SDK for Java v1", _java("aws-java-v1", "aws-java-sdk-s3")),
        ClientKind("aws-java-v1-v2", "AWS SDK for Java v1 by V2", _java("aws-java-v1", "aws-java-sdk-s3")),
        ClientKind("hadoop-s3a", "Hadoop S3A", _java("hadoop-s3a", "hadoop-aws")),
        ClientKind("chromium", "Chromium, a page of another origin", _chromium, is_browser=True),
        ClientKind("chromium-at-home", "Chromium, a page of the same origin", _chromium, is_browser=True),
        ClientKind("curl", "curl --aws-sigv4", _curl),
        ClientKind("curl-unsigned", "curl --aws-sigv4 with x-amz-content-sha256", _curl),
        ClientKind(
            "restic", "restic", _go_module("github.com/restic/restic/cmd/restic", "v0.18.1"), takes_endpoint_path=False
        ),
    )
}
"""
The clients by name, in the order of the page.
"""
