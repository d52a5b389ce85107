"""
minio-go's own functional tests, run with s3proxy in front of MinIO: whatever passes straight with MinIO passes through
s3proxy.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from trustme import CA

from tests.integration.daemon import CLIENT_KEY_ID, CLIENT_SECRET, start_daemon
from tests.integration.golang import CACHE, MINIO, environment, find_go, install_program
from tests.integration.storages import Endpoint
from tests.support.processes import end_all, free_port, wait_for_port

pytestmark = pytest.mark.integration

MODULE, VERSION = "github.com/minio/minio-go/v7", "v7.4.1"
KEY_ID, SECRET = "MINIOROOTKEY00000001", "minio-root-secret-of-the-suite-000000001"
NAMES = (Path(__file__).parent / "minio-go-tests.txt").read_text().split()

DIFFERENT = {
    "testGetObjectS3Zip": (
        "x-minio- headers are MinIO's orders to its own kind, and do not pass",
        re.compile(r"NA GetObject\(bucketName, objectName\)"),
    ),
}
"""
Tests that pass straight and not through s3proxy: the reason, and the output of each.
"""

RUN = """package main

import (
	"fmt"
	"log/slog"
	"os"
)

var tests = map[string]func(){
%s
}

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	_ = allTests
	if len(os.Args) < 2 {
		for name := range tests {
			fmt.Println(name)
		}
		return
	}
	tests[os.Args[1]]()
}
"""
"""
Runs one test by its name, or lists all names.
"""


@dataclass(frozen=True)
class Setup:
    """
    MinIO, and s3proxy in front of it, both over TLS.
    """

    program: Path
    straight: Endpoint
    through: Endpoint


def build() -> Path:
    """
    Build a program from the module's tests that runs one test at a time; return its path.
    """
    directory = CACHE / f"minio-go-tests-{VERSION}"
    path = directory / "tests"
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    go = find_go()
    fetching = [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    fetched = subprocess.run(fetching, check=True, capture_output=True, cwd=directory, env=environment())
    text = (Path(json.loads(fetched.stdout)["Dir"]) / "functional_tests.go").read_text()
    names = re.findall(r"^func (test\w+)\(\) \{$", text, re.MULTILINE)
    text = text.replace("//go:build mint\n", "", 1).replace("\nfunc main() {", "\nfunc allTests() {", 1)
    (directory / "functional.go").write_text(text)
    (directory / "run.go").write_text(RUN % "\n".join(f'\t"{name}": {name},' for name in names))
    (directory / "go.mod").write_text(f"module functional\n\ngo 1.26\n\nrequire {MODULE} {VERSION}\n")
    print(f"building the tests of {MODULE} {VERSION}", flush=True)
    for command in ([go, "mod", "tidy"], [go, "build", "-o", str(path), "."]):
        subprocess.run(command, cwd=directory, check=True, env=environment(), capture_output=True)
    return path


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """
    Both run until the last test has ended.
    """
    directory = tmp_path_factory.mktemp("minio-go")
    authority = CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca_file, server = directory / "authority.pem", directory / "server.pem"
    authority.cert_pem.write_to_path(ca_file)
    certificate.private_key_and_cert_chain_pem.write_to_path(server)
    certificates = directory / "certificates"
    certificates.mkdir()
    certificate.cert_chain_pems[0].write_to_path(certificates / "public.crt")
    certificate.private_key_pem.write_to_path(certificates / "private.key")
    port = free_port()
    processes = []
    try:
        with (directory / "minio.log").open("ab") as log:
            places = ["--certs-dir", str(certificates), "--address", f"127.0.0.1:{port}", str(directory / "store")]
            keys = {
                "MINIO_ROOT_USER": KEY_ID,
                "MINIO_ROOT_PASSWORD": SECRET,
                "MINIO_KMS_SECRET_KEY": "suite:" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
                "SSL_CERT_FILE": str(ca_file),
            }
            processes.append(
                subprocess.Popen(
                    [str(install_program(*MINIO)), "server", *places],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env={**environment(), **keys},
                )
            )
        backend = (
            f'name = "minio"\nurl = "https://localhost:{port}"\nprofile = "minio"\nca_file = "{ca_file}"\n'
            f'access_key_id = "{KEY_ID}"\nsecret_access_key = "{SECRET}"'
        )
        # The tests make buckets in these regions, and then sign for them.
        daemon, _, tls_port = start_daemon(
            directory / "s3proxy", backend, server, lines='accepted_regions = ["eu-central-1", "us-west-2"]'
        )
        processes.append(daemon)
        for process, listened in zip(processes, (port, tls_port), strict=True):
            wait_for_port(listened, process)
        yield Setup(
            build(),
            Endpoint(port, KEY_ID, SECRET),
            Endpoint(tls_port, CLIENT_KEY_ID, CLIENT_SECRET),
        )
    finally:
        end_all(processes)


def run(program: Path, name: str, endpoint: Endpoint, directory: Path) -> list[str]:
    """
    Run one test; return a line for each result that it reports: the status, the function, and the reason.
    """
    directory.mkdir()
    settings = {
        "SERVER_ENDPOINT": f"localhost:{endpoint.port}",
        "ACCESS_KEY": endpoint.key_id,
        "SECRET_KEY": endpoint.secret,
        "SERVER_REGION": "us-east-1",
        "ENABLE_HTTPS": "1",
        "SKIP_CERT_VALIDATION": "1",
        "MINT_MODE": "full",
        # A test reports all of its failures.
        "RUN_ON_FAIL": "1",
    }
    done = subprocess.run(
        [program, name],
        cwd=directory,
        env={**environment(), **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    lines = [
        f"{one['status']} {one['function']} {one.get('message', '')} {one.get('error', '')}".strip()
        for one in told
        if "status" in one
    ]
    if done.returncode:
        lines.append(f"FAIL exit status {done.returncode} {done.stderr[-500:]}")
    return lines


def statuses(lines: list[str]) -> Counter[str]:
    """
    Return how often each of PASS, FAIL and NA was reported.
    """
    return Counter(line.partition(" ")[0] for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_what_passes_straight_passes_through(name: str, setup: Setup, tmp_path: Path) -> None:
    """
    Both runs are at the same time. MinIO itself fails some tests.
    """
    with ThreadPoolExecutor(2) as pool:
        straight, through = pool.map(
            lambda way: run(setup.program, name, getattr(setup, way), tmp_path / way), ("straight", "through")
        )
    if name in DIFFERENT:
        _, pattern = DIFFERENT[name]
        assert set(statuses(straight)) == {"PASS"}
        assert [line for line in through if not pattern.match(line) and not line.startswith("PASS")] == []
        assert statuses(through) != statuses(straight)
        return

    assert statuses(through)["PASS"] >= statuses(straight)["PASS"], "\n".join(through)
    assert statuses(through)["FAIL"] <= statuses(straight)["FAIL"], "\n".join(through)
    assert statuses(through)["NA"] <= statuses(straight)["NA"], "\n".join(through)


def test_the_list_is_whole(setup: Setup) -> None:
    """
    The names are those of the module.
    """
    told = subprocess.run([setup.program], check=True, capture_output=True, text=True).stdout.split()

    assert sorted(told) == NAMES
