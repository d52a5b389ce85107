"""
What another user of the machine can see of the daemon, and cannot do to it.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from trustme import CA

from s3proxy.commands.cli import main
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from tests.support.daemon import LONG, twistd_arguments
from tests.support.harness import until
from tests.support.processes import running, write_configuration
from tests.support.socket_client import SocketClient
from tests.support.workers import Supervised, children, log_of

MARKING = """
import os
with open(os.path.join({directory!r}, f"{name}-{{os.getpid()}}-{{os.times().elapsed}}"), "wb") as file:
    file.write(open("/proc/self/cmdline", "rb").read())
"""
"""
Records the command line of the process that runs it.
"""

STANDING_IN = """
import importlib.util, sysconfig
spec = importlib.util.spec_from_file_location("uuid", os.path.join(sysconfig.get_path("stdlib"), "uuid.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
globals().update(vars(module))
"""
"""
Does what the standard library's module of that name does.
"""

SECRETS = (b"the-backend-secret-of-the-tests", b"wJalrXUtnFEMI")


class Seen:
    """
    A daemon of two workers, started in a directory where others can write, and restarted once.
    """

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self.process = process

    def workers(self) -> list[int]:
        """
        The process ids of the workers.
        """
        return [pid for pid in children(self.process) if b"s3proxy.daemon.worker" in command_line(pid)]

    def until_former_ended(self) -> None:
        """
        Wait until only the workers of the new supervisor are left.
        """
        for _ in range(2400):
            if len(self.workers()) == 2:
                return
            time.sleep(0.05)
        raise AssertionError(self.workers())

    def until_log(self, text: str, count: int) -> None:
        """
        Wait until the daemon has logged a text ``count`` times.
        """
        for _ in range(2400):
            if log_of(self.directory).count(text) >= count:
                return
            assert self.process.poll() is None, log_of(self.directory)
            time.sleep(0.05)
        raise AssertionError(log_of(self.directory))

    def marks(self, name: str) -> list[bytes]:
        """
        Return the command lines of the processes that ran a module.
        """
        return [path.read_bytes() for path in self.directory.glob(f"{name}-*")]


def command_line(pid: int) -> bytes:
    """
    Return the contents of proc_pid_cmdline(5).
    """
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """
    The daemon. Its own modules on PYTHONPATH leave marks, and so does one in its working directory.
    """
    directory = tmp_path_factory.mktemp("local-user")
    own = directory / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(MARKING.format(directory=str(directory), name="own"))
    (directory / "uuid.py").write_text(MARKING.format(directory=str(directory), name="foreign") + STANDING_IN)
    configuration = write_configuration(directory, "http://127.0.0.1:1", server="workers = 2")
    # The code under test may be a copy, which is found by the path of this process.
    path = os.pathsep.join(filter(None, (str(own), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # As on a system that writes core dumps.
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    with running(twistd_arguments(configuration), directory, environment) as process:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        seen = Seen(directory, process)
        seen.until_log("2 workers are serving", 1)
        process.send_signal(signal.SIGUSR2)
        seen.until_log("2 workers are serving", 2)
        seen.until_former_ended()
        yield seen


TRIAL = b"import s3proxy.daemon.supervisor"


def test_no_module_of_the_working_directory_is_imported(seen: Seen) -> None:
    """
    Neither by a worker nor by the trial of a new program. The tests' own `python -c` shows that it is possible.
    """
    foreign = seen.marks("foreign")

    assert foreign
    assert not [line for line in foreign if b"s3proxy.daemon.worker" in line or TRIAL in line]


def test_modules_of_pythonpath_are_imported(seen: Seen) -> None:
    """
    Workers find an operator's or application's own modules, as the daemon does.
    """
    own = seen.marks("own")

    assert len([line for line in own if b"s3proxy.daemon.worker" in line]) == 4
    assert len([line for line in own if TRIAL in line]) == 1


def test_a_worker_keeps_its_configuration_on_no_descriptor(seen: Seen) -> None:
    """
    The descriptor from which it read its secrets is ``/dev/null``, and none of its other files contains a secret.
    """
    for pid in seen.workers():
        descriptors = {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}

        assert descriptors["0"] == os.devnull
        files = [name for name, target in descriptors.items() if target.startswith(("/memfd:", str(seen.directory)))]
        assert files
        for name in files:
            content = Path(f"/proc/{pid}/fd/{name}").read_bytes()
            assert not [secret for secret in SECRETS if secret in content], descriptors[name]


def test_a_worker_inherits_what_it_needs(seen: Seen) -> None:
    """
    Its log, its commands and reports, the listening socket and the counts of connections, and no more.
    """
    for pid in seen.workers():
        targets = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        kinds = sorted(re.sub(r":\[?\d+\]?$", "", target) for target in targets)

        assert {kind for kind in kinds if not kind.startswith("anon_inode:")} == {
            os.devnull,
            "/memfd:s3proxy-connections (deleted)",
            str(seen.directory / "access.log"),
            str(seen.directory / "process.log"),
            "pipe",
            "socket",
        }
        listening = {target for target in targets if target.startswith("socket:")}
        # The reactor's own waker is a pair of sockets in some versions of Twisted.
        assert len(listening) <= 3


def test_no_secret_is_in_a_command_line_or_environment(seen: Seen) -> None:
    """
    Neither those of the restarted supervisor nor those of its workers.
    """
    assert len(seen.workers()) >= 2
    for pid in (seen.process.pid, *seen.workers()):
        text = command_line(pid) + Path(f"/proc/{pid}/environ").read_bytes()

        assert not [secret for secret in SECRETS if secret in text]


def test_no_process_writes_a_core_dump(seen: Seen) -> None:
    """
    The soft limit is 0 in each process.
    """
    for pid in (seen.process.pid, *seen.workers()):
        found = re.search(r"Max core file size\s+(\S+)", Path(f"/proc/{pid}/limits").read_text())

        assert found is not None
        assert found[1] == "0"


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_signals_during_a_drain(tmp_path: Path, workers: int) -> None:
    """
    Further signals neither end it nor log a traceback: the running request gets its response, and no process is left.
    """
    supervised = Supervised(tmp_path, workers)
    daemon = supervised.daemon
    waiting: list[FaultyConnection] = []

    def wait(connection: FaultyConnection, request: ReceivedRequest) -> None:
        waiting.append(connection)

    daemon.backend.on_request = wait
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        pids = children(process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(daemon.signer().head("GET", "/b/k")[0])
        await until(lambda: client.pump() or waiting, LONG)
        process.send_signal(signal.SIGTERM)
        await until(lambda: log_of(tmp_path).count("draining: ") >= workers, LONG)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            # The daemon responds only once it has seen the signal.
            await supervised.until_page("ready", lambda status, text: status == 503)
        assert process.poll() is None
        waiting[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: client.pump() or client.status or client.end, LONG)
        await until(lambda: process.poll() is not None, LONG)
    await daemon.close()

    assert client.status == 200
    assert "Traceback" not in log_of(tmp_path)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def reported(directory: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """
    Return the warnings of ``s3proxy check``, with file names for paths, without those about keys that share a backend
    key.
    """
    assert main(["check", str(directory / "s3proxy.toml")]) == 0
    lines = [line.replace(f"{directory}/", "") for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line.startswith("warning: ") and "share" not in line]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, "every member of its group can read the secrets in it (its mode is 0640); use chmod 600"),
        (0o644, "every user of this machine can read the secrets in it (its mode is 0644); use chmod 600"),
        (0o620, "every member of its group can change it (its mode is 0620); use chmod 600"),
        (0o666, "every user of this machine can change it (its mode is 0666); use chmod 600"),
    ],
    ids=lambda value: oct(value) if isinstance(value, int) else "",
)
@pytest.mark.parametrize("name", ["keys.toml", "s3proxy.toml", "secret"])
def test_check_warns_of_files_that_others_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mode: int, said: str | None
) -> None:
    """
    The keys, a configuration with a secret in it, and a file that the configuration names for a secret.
    """
    (tmp_path / "secret").write_text("secret")
    key = '[[backend_key]]\nname = "k"\nbackend = "test"\naccess_key_id = "K"\nsecret_access_key_file = "secret"\n'
    write_configuration(tmp_path, "http://127.0.0.1:1", more=key)
    for other in ("keys.toml", "s3proxy.toml", "secret"):
        (tmp_path / other).chmod(0o600)
    (tmp_path / name).chmod(mode)

    assert reported(tmp_path, capsys) == ([] if said is None else [f"warning: {name}: {said}"])


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o644, 1)], ids=oct)
def test_check_warns_of_a_listeners_private_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, count: int
) -> None:
    """
    An endpoint string names the file.
    """
    key = tmp_path / "server.pem"
    CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(key)
    key.chmod(mode)
    listen = f"ssl:0:interface=127.0.0.1:privateKey={key}"
    write_configuration(tmp_path, "http://127.0.0.1:1", listen=listen).chmod(0o600)

    assert len([line for line in reported(tmp_path, capsys) if "server.pem: every user" in line]) == count


@pytest.mark.parametrize(("mode", "count"), [(0o777, 1), (0o1777, 0), (0o775, 0), (0o700, 0)], ids=oct)
def test_check_warns_of_a_directory_that_others_can_write_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, count: int
) -> None:
    """
    They can replace a file that they cannot change, with other keys in it, unless the directory is sticky.
    """
    directory = tmp_path / "configuration"
    directory.mkdir()
    write_configuration(directory, "http://127.0.0.1:1").chmod(0o600)
    directory.chmod(mode)

    assert len([line for line in reported(directory, capsys) if "can replace files in it" in line]) == count


@pytest.mark.parametrize(("mode", "count"), [(0o644, 0), (0o664, 1)], ids=oct)
def test_a_configuration_without_secrets_may_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, count: int
) -> None:
    """
    Everyone can read it, but only its owner can change it.
    """
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    path = write_configuration(tmp_path, "http://127.0.0.1:1")
    inline = 'secret_access_key = "the-backend-secret-of-the-tests"'
    path.write_text(path.read_text().replace(inline, 'secret_access_key_file = "secret"'))
    path.chmod(mode)

    assert len(reported(tmp_path, capsys)) == count


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_that_cannot_be_read_fail_the_start_in_one_line(tmp_path: Path, workers: int) -> None:
    """
    The error gives the reason, without a traceback.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server=f"workers = {workers}")
    (tmp_path / "keys.toml").write_text("[[key]]\n")
    with running(twistd_arguments(path), tmp_path) as process:
        process.wait(60)

    assert process.returncode == 1
    assert f"{tmp_path}/keys.toml: [[key]] 1: access_key_id: missing required option" in log_of(tmp_path)
    assert "Traceback" not in log_of(tmp_path)
