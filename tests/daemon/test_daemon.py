"""
The daemon as operators run it: ``twistd -n s3proxy``, its signals, its log, and what its output must not contain.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from trustme import CA

from s3proxy.commands.cli import main
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest, respond_ok
from tests.support.daemon import BODY, LONG, Daemon, twistd_arguments
from tests.support.harness import SERVER, until
from tests.support.processes import free_port, running, until_listening, write_configuration
from tests.support.signer import HASH, SIGNED_CHUNKS, UNSIGNED
from tests.support.socket_client import SocketClient


@pytest_twisted.ensureDeferred
async def test_keys_are_read_again(tmp_path: Path) -> None:
    """
    SIGHUP brings a new key without a restart; a broken file changes nothing.
    """
    daemon = Daemon(tmp_path)
    keys = tmp_path / "keys.toml"
    signer = daemon.signer(access_key_id="NEWKEY", secret="new secret")
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        first = await daemon.ask(signer.head("GET", "/b/k")[0])
        with keys.open("a") as file:
            file.write('\n[[key]]\naccess_key_id = "NEWKEY"\nsecret_access_key = "new secret"\n')
        process.send_signal(signal.SIGHUP)
        await until(lambda: "reloaded: 5 keys" in daemon.output())
        second = await daemon.ask(signer.head("GET", "/b/k")[0])
        keys.write_text("[[key]]\nnonsense = 1\n")
        process.send_signal(signal.SIGHUP)
        await until(lambda: "reload failed" in daemon.output())
        third = await daemon.ask(signer.head("GET", "/b/k")[0])
    await daemon.close()

    assert b"InvalidAccessKeyId" in first
    assert second.startswith(b"HTTP/1.1 200")
    assert third.startswith(b"HTTP/1.1 200")


FAULTS = {
    "an option": ("configuration", "[log]\n", "[log]\ncolour = 1\n", "log.colour"),
    "no TOML": ("configuration", "[log]\n", "[log\n", ""),
    "a key": ("keys", "", "[[key]]\nnonsense = 1\n", "[[key]] 1: "),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest_twisted.ensureDeferred
async def test_a_reload_names_the_file_that_is_wrong(fault: str, tmp_path: Path) -> None:
    """
    The log of a failed reload names the file and the place of the error, and the daemon continues to serve.
    """
    daemon = Daemon(tmp_path)
    file, former, wrong, place = FAULTS[fault]
    path = daemon.configuration if file == "configuration" else tmp_path / "keys.toml"
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
        text = path.read_text()
        path.write_text(text.replace(former, wrong, 1) if former else wrong)
        process.send_signal(signal.SIGHUP)
        await until(lambda: "reload failed" in daemon.output())
        served = await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
    await daemon.close()

    assert f"reload failed, keeping the old configuration: {path}: {place}" in daemon.output()
    assert served.startswith(b"HTTP/1.1 200")


@pytest_twisted.ensureDeferred
async def test_one_process_outlives_the_signal_of_a_restart(tmp_path: Path) -> None:
    """
    SIGUSR2 replaces a supervisor. A single process has none: it logs that, and its running upload succeeds.
    """
    daemon = Daemon(tmp_path)
    request = daemon.signer().put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(request.head + request.body[:300_000])
        await until(lambda: client.pump() or (daemon.backend.connections and daemon.backend.connections[0].size))
        process.send_signal(signal.SIGUSR2)
        await until(lambda: "restart failed: server.workers is 1" in daemon.output() or process.poll() is not None)
        client.put(request.body[300_000:])
        await until(lambda: client.pump() or client.status)
        is_alive = process.poll() is None
    await daemon.close()

    assert is_alive
    assert client.status == 200
    assert daemon.backend.requests[0].body == BODY


@pytest_twisted.ensureDeferred
async def test_a_running_upload_survives_the_stop(tmp_path: Path) -> None:
    """
    SIGTERM: no client can connect any more, the running upload succeeds, then the process ends.
    """
    daemon = Daemon(tmp_path)
    request = daemon.signer().put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(request.head + request.body[:300_000])
        await until(lambda: client.pump() or (daemon.backend.connections and daemon.backend.connections[0].size))
        process.send_signal(signal.SIGTERM)
        await until(lambda: "draining: 1 requests are running" in daemon.output())
        client.put(request.body[300_000:])
        await until(lambda: client.pump() or client.status)
        await until(lambda: process.poll() is not None)
    await daemon.close()

    assert client.status == 200
    # twistd ends itself with the signal that stopped it.
    assert process.returncode == -signal.SIGTERM
    assert daemon.backend.requests[0].body == BODY


@pytest_twisted.ensureDeferred
async def test_the_drain_has_a_deadline(tmp_path: Path) -> None:
    """
    Requests that still run then are reset, and nothing of them is stored.
    """
    daemon = Daemon(tmp_path, more="[times]\ndrain = 0.2\n")
    request = daemon.signer().put("/test-bucket/key", BODY, UNSIGNED)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(request.head + request.body[:300_000])
        await until(lambda: client.pump() or (daemon.backend.connections and daemon.backend.connections[0].size))
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None, limit=2_000_000)
    await daemon.close()

    # twistd ends itself with the signal that stopped it.
    assert process.returncode == -signal.SIGTERM
    assert daemon.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_no_output_holds_a_secret(tmp_path: Path) -> None:
    """
    No log contains a secret, token or presigned signature that was used, or a signature that s3proxy computed.
    """
    daemon = Daemon(tmp_path)
    token = SERVER["credentials"][2]["session_token"]
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        good, bad = daemon.signer(), daemon.signer(secret="a-secret-which-is-wrong")
        presigned = good.presign("GET", "/test-bucket/key")
        host = f"Host: 127.0.0.1:{daemon.port}\r\n\r\n".encode()
        asked = [
            good.put("/test-bucket/key", b"hello", HASH),
            good.put("/test-bucket/key", BODY, SIGNED_CHUNKS),
            bad.put("/test-bucket/key", b"hello", HASH),
        ]
        responses = [await daemon.ask(request.head + request.body) for request in asked]
        responses.append(await daemon.ask(f"GET {presigned} HTTP/1.1\r\n".encode() + host))
        other = presigned[:-1] + ("1" if presigned.endswith("0") else "0")
        responses.append(await daemon.ask(f"GET {other} HTTP/1.1\r\n".encode() + host))
        head = good.head("GET", "/test-bucket/key", {"x-amz-security-token": token})[0]
        responses.append(await daemon.ask(head))
        responses.append(await daemon.ask(b"GARBAGE " + token.encode() + b"\r\n\r\n"))

        def refuse(connection: FaultyConnection, request: ReceivedRequest) -> None:
            document = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
            connection.send(b"HTTP/1.1 403 F\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

        daemon.backend.on_request = refuse
        responses.append(await daemon.ask(good.head("GET", "/test-bucket/key")[0]))
        daemon.backend.on_request = respond_ok
    await daemon.close()
    output = daemon.output()

    statuses = [int(response[9:12]) for response in responses]
    assert statuses[:5] == [200, 200, 403, 200, 403]
    assert statuses[7] == 500
    assert output.count("REST.PUT.OBJECT") == 3
    secrets = [item["secret_key"] for item in SERVER["credentials"]]
    secrets += [item["session_token"] for item in SERVER["credentials"] if item["session_token"]]
    secrets += ["the-backend-secret-of-the-tests", presigned.rpartition("=")[2], presigned.rpartition("=")[2][:-1]]
    for request in daemon.backend.requests:
        authorization = request.head.fields.value(b"authorization") or b""
        secrets.append(authorization.rpartition(b"Signature=")[2].decode())
    for request in (asked[0], asked[2]):
        secrets.append(request.head.rpartition(b"Signature=")[2][:64].decode())
    assert len(secrets) > 12
    assert [secret for secret in secrets if secret in output] == []
    assert "Traceback" not in output
    everything = b"".join(responses)
    for secret in secrets[:6]:
        if secret != token:
            assert secret.encode() not in everything


def test_check_tells_every_fault(tmp_path: Path) -> None:
    """
    ``s3proxy check`` names the place of each error and what is accepted, and exits with status 1.
    """
    path = tmp_path / "s3proxy.toml"
    path.write_text('[server]\nregion = 5\ncolour = "red"\n[[backend]]\nname = "a"\nurl = "ftp://x"\n')

    ran = subprocess.run(
        [sys.executable, "-m", "s3proxy.commands.cli", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 1
    for place in ("server.region", "server.colour", '[[backend]] "a": url', '[[backend]] "a": exactly one of secret'):
        assert place in ran.stderr


def test_check_accepts_what_runs(tmp_path: Path) -> None:
    """
    A correct file is ok, and the output says if a backend's behaviour is not proven.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1")

    ran = subprocess.run(
        [sys.executable, "-m", "s3proxy.commands.cli", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stderr
    assert "ok, 1 backend, 4 keys" in ran.stdout
    assert 'backend "test"' in ran.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["s3proxy", "--help"]])
def test_twistd_knows_the_plugin(arguments: list[str]) -> None:
    """
    The installed package adds its command to twistd.
    """
    twistd = shutil.which("twistd", path=str(Path(sys.executable).parent))
    assert twistd is not None

    ran = subprocess.run([twistd, *arguments], capture_output=True, text=True, check=False)

    assert ran.returncode == 0
    assert "s3proxy" in ran.stdout


def test_a_port_in_use_fails_the_start(tmp_path: Path) -> None:
    """
    The process exits with an error instead of running without a listener.
    """
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = write_configuration(tmp_path, "http://127.0.0.1:1", port=taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, *twistd_arguments(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    assert ran.returncode != 0
    assert "cannot listen" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_an_access_log_which_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    """
    The error is one line, with the name of the option.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", access="/proc/no-such-file")

    ran = subprocess.run(
        [sys.executable, *twistd_arguments(path)], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "log.access: /proc/no-such-file: No such file or directory"
    assert "Traceback" not in ran.stdout + ran.stderr


STEPPED = """
import sys, time
from datetime import timedelta
from pathlib import Path
real, step = time.time, Path(sys.argv.pop(1))
time.time = lambda: real() + float(step.read_text())
from s3proxy.daemon import generation
now = generation.utc_now
generation.utc_now = lambda: now() + timedelta(seconds=float(step.read_text()))
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"A daemon whose wall clock is as many seconds ahead as a file says."


@pytest.mark.parametrize("hour", [3600, -3600])
@pytest_twisted.ensureDeferred
async def test_a_step_of_the_wall_clock_during_an_upload(tmp_path: Path, hour: int) -> None:
    """
    No timer fires early or never: the upload succeeds, and an incomplete head is cut in time.
    """
    daemon = Daemon(tmp_path, more="[times]\nhead = 1\n")
    step = tmp_path / "step"
    step.write_text("0")
    arguments = ["-c", STEPPED, str(step), *twistd_arguments(daemon.configuration)[2:]]
    request = daemon.signer().put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    with running(arguments, tmp_path) as process:
        await until_listening(daemon.port, process)
        client, slow = SocketClient(daemon.port), SocketClient(daemon.port)
        daemon.clients += [client, slow]
        client.put(request.head + request.body[:200_000])
        await until(lambda: client.pump() or any(c.size for c in daemon.backend.connections))
        step.write_text(str(hour))
        slow.put(b"GET / HTTP/1.1\r\n")
        await until(lambda: slow.pump() or slow.end, 4_000_000)
        stepped = await daemon.ask(daemon.signer().head("GET", "/test-bucket/key")[0])
        client.put(request.body[200_000:])
        await until(lambda: client.pump() or client.status)
    await daemon.close()

    assert client.status == 200
    assert [stored.body for stored in daemon.backend.requests] == [BODY]
    assert b"RequestTimeTooSkewed" in stepped, "the clock of signatures has moved"


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_daemon_without_an_access_log_logs_requests_to_twistds_log(tmp_path: Path, workers: int) -> None:
    """
    Without ``-n`` there is no standard output: a warning names the option, and access log lines go to twistd's log.
    """
    daemon = Daemon(tmp_path, server=f"workers = {workers}", access="-")
    log, pidfile = tmp_path / "twistd.log", tmp_path / "twistd.pid"
    arguments = [each for each in twistd_arguments(daemon.configuration) if each not in {"-n", "--pidfile="}]
    arguments[2:2] = [f"--pidfile={pidfile}", f"--logfile={log}", f"--rundir={tmp_path}"]
    subprocess.run([sys.executable, *arguments], check=True, timeout=60, cwd=tmp_path, stdout=subprocess.DEVNULL)
    pid = int(pidfile.read_text())
    try:
        await until(lambda: "listening on" in log.read_text(), LONG)
        response = await daemon.ask(daemon.signer().head("GET", "/test-bucket/key")[0])
    finally:
        os.kill(pid, signal.SIGTERM)
    await until(lambda: not pidfile.exists(), LONG)
    await daemon.close()

    assert response.startswith(b"HTTP/1.1 200")
    assert log.read_text().count('log.access is "-"') == workers
    assert log.read_text().count('REST.GET.OBJECT key "GET /test-bucket/key HTTP/1.1" 200') == 1


@pytest_twisted.ensureDeferred
async def test_a_reload_says_that_more_workers_take_a_restart(tmp_path: Path) -> None:
    """
    A single process has no supervisor that could start others: everything else of the file is in force.
    """
    daemon = Daemon(tmp_path)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        await until(lambda: "listening on" in daemon.output(), LONG)
        text = daemon.configuration.read_text()
        daemon.configuration.write_text(text.replace("[server]", "[server]\nworkers = 2"))
        for number in (1, 2):
            process.send_signal(signal.SIGHUP)
            await until(lambda number=number: daemon.output().count("reloaded: ") == number, LONG)
    await daemon.close()

    assert daemon.output().count("server.workers is now 2") == 2
    assert daemon.output().count("restart the daemon") == 2


@pytest_twisted.ensureDeferred
async def test_a_reload_does_not_say_that_a_tls_port_is_closed(tmp_path: Path) -> None:
    """
    The socket stays open, with another certificate.
    """
    certificate = tmp_path / "server.pem"
    CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    port = free_port()
    listen = f"ssl:{port}:interface=127.0.0.1:privateKey={certificate}"
    daemon = Daemon(tmp_path, listen=listen)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(port, process)
        await until(lambda: "listening on" in daemon.output(), LONG)
        process.send_signal(signal.SIGHUP)
        await until(lambda: "reloaded: " in daemon.output(), LONG)
        await until_listening(port, process)
        after = daemon.output()
    await daemon.close()

    assert "Closed" not in after
    assert f"(TCP Port {port} Closed)" in daemon.output()


@pytest.mark.parametrize("commit", ["tail", None])
def test_check_is_silent_about_a_commit_that_is_written_out(tmp_path: Path, commit: str | None) -> None:
    """
    An operator who writes the default out knows it.
    """
    backend = f'commit = "{commit}"' if commit else ""
    path = write_configuration(tmp_path, "http://127.0.0.1:1", backend=backend)

    ran = subprocess.run(
        [sys.executable, "-m", "s3proxy.commands.cli", "check", str(path)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert ("does not guarantee" in ran.stdout) is (commit is None)


def test_check_reads_the_keys_of_a_wrong_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One run reports the errors of both files, each line with the name of its file.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server="region = 5")
    keys = tmp_path / "keys.toml"
    keys.write_text('[[key]]\naccess_key_id = "A"\nsecret_access_key = "s"\nbackend = "tset"\n')

    assert main(["check", str(path)]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" is not accepted")[0] for line in lines] == [
        f"{path}: server.region: 5",
        f'{keys}: [[key]] "A": backend: "tset"',
    ]
    assert '(did you mean "test"?)' in lines[1]


@pytest.mark.parametrize("name", ["s3proxy.toml", "keys.toml"])
def test_a_file_that_is_no_toml_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """
    With the place where parsing stopped.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1")
    (tmp_path / name).write_text("[log\n")

    assert main(["check", str(path)]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / name}: not TOML: ")
    assert line.count(name) == 1
    assert "line 1" in line


def test_check_tells_what_a_missing_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The default keys file is in no configuration, so its path alone says nothing.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "keys.toml").unlink()

    assert main(["check", str(path)]) == 1

    assert capsys.readouterr().err == f"{tmp_path / 'keys.toml'}: No such file or directory (the keys file)\n"


@pytest.mark.parametrize(
    ("profile", "signature", "is_warned"),
    [
        ("walrus-3.4", "", True),
        ("walrusbackend-4.x", "v4", True),
        ("riakcs", "v4", True),
        ("walrus-3.4", "v2", False),
        ("ceph-rgw", "v4", False),
    ],
)
def test_check_warns_of_a_signature_that_the_profile_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str, signature: str, is_warned: bool
) -> None:
    """
    Such a backend refuses every request. Signature V4 is the default, so it need not be written.
    """
    written = f'signature = "{signature}"' if signature else ""
    path = write_configuration(tmp_path, "http://127.0.0.1:1", backend=f'profile = "{profile}"\n{written}')

    assert main(["check", str(path)]) == 0

    warning = f'warning: backend "test": profile "{profile}" does not know Signature V4; set `signature = "v2"`'
    assert (warning in capsys.readouterr().out.splitlines()) is is_warned


@pytest.mark.parametrize(("signature", "memory"), [("none", "64 MiB"), ("v4", "16 MiB")])
def test_check_notes_what_has_no_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], signature: str, memory: str
) -> None:
    """
    Buckets to sign for at a backend without signatures, and a share above the whole.
    """
    path = write_configuration(
        tmp_path,
        "http://127.0.0.1:1",
        more=f"""
[[backend]]
name = "other"
url = "http://127.0.0.1:2"
signature = "{signature}"
{'access_key_id = "A"' if signature == "v4" else ""}
{'secret_access_key = "s"' if signature == "v4" else ""}

[[route]]
bucket = "public-*"
backend = "other"

[anonymous]
signed_buckets = ["public-a", "b"]

[limits]
memory = "32 MiB"
key_memory = "{memory}"
multipart_size = "32 MiB"
key_multipart_size = "{memory}"
""",
    )

    assert main(["check", str(path)]) == 0

    notes = capsys.readouterr().out
    unsigned = 'note: anonymous.signed_buckets: "public-a" is on backend "other", whose requests are not signed'
    assert (unsigned in notes) is (signature == "none")
    assert ("limits.key_memory has no effect above limits.memory" in notes) is (memory == "64 MiB")
    assert ("limits.key_multipart_size has no effect above limits.mult" in notes) is (memory == "64 MiB")
    assert '"b" is at' not in notes
