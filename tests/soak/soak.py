"""
All of a soak: s3proxy, the faulty network on both sides of it, the clients, and what is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.soak.footprints import MIB, Footprint, Footprints, age_of, descriptor_faults, memory_faults, told
from tests.soak.ledger import Ledger, broken_promises, expectations, fault_of, sort_of, table
from tests.soak.storage import Reader, Storage
from tests.support.daemon import twistd_arguments
from tests.support.processes import free_port, running
from tests.support.workers import children

ROOT = Path(__file__).parent.parent.parent
BUCKET = "soak"
GAUGES = ("s3proxy_running_requests", "s3proxy_bytes_in_flight", "s3proxy_spool_bytes")
"""
Gauges that are zero when nothing runs.
"""


@dataclass(frozen=True)
class Account:
    """
    A key of clients, and the backend of its requests.

    Attributes:
        options: Lines of the backend's table.
    """

    key_id: str
    storage: str
    options: str


@dataclass(frozen=True)
class Size:
    """
    The length and the load of a run.

    Attributes:
        uploads: Minimum number of uploads that must be reported as stored.
        clients: Processes.
        slots: Parallel uploads of each client.
        warm_up: Uploads before the first fault.
    """

    seconds: float
    uploads: int
    seed: int
    clients: int = 5
    slots: int = 4
    warm_up: int = 200
    flaw_probability: float = 0.15
    fault_probability: float = 0.4


@dataclass
class Report:
    """
    The results of a run.

    Attributes:
        faults: What is wrong, one sentence each.
        lines: To be printed.
    """

    faults: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class Client:
    """
    One client process.
    """

    def __init__(self, directory: Path, plan: dict[str, object], environment: dict[str, str]) -> None:
        self.name = str(plan["name"])
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(plan))
        with (directory / "clients.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.client", str(path)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=directory,
                env=environment,
            )


class Soak:
    """
    The running field.

    Args:
        directory: For configurations, logs and ledgers; the backends have their own.
        storages: The running backends; each has the bucket.
    """

    def __init__(self, directory: Path, size: Size, storages: list[Storage], accounts: list[Account]) -> None:
        self._directory = directory
        self._size = size
        self._storages = storages
        self._accounts = accounts
        self._source = random.Random(size.seed)
        self._port, self._inner_port, self._admin_port = free_port(), free_port(), free_port()
        self._storage_ports = {storage.name: free_port() for storage in storages}
        self._ledgers = directory / "ledgers"
        self._ledgers.mkdir()
        self._ledger = Ledger(self._ledgers)
        self._kills: Counter[str] = Counter()
        self._clients: list[Client] = []
        self._names = iter(range(1 << 30))
        # Only the tests: a checkout's own s3proxy must not hide the installed one.
        path = directory / "path"
        path.mkdir()
        (path / "tests").symlink_to(ROOT / "tests")
        former = os.environ.get("PYTHONPATH")
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{path}{os.pathsep}{former}" if former else str(path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, say: Callable[[str], None]) -> Report:
        """
        Warm up, run with faults for the given time, and compare.

        Args:
            say: Receives a line of progress.
        """
        size, report = self._size, Report()
        say(f"seed {size.seed}: {size.seconds:g} s and {size.uploads} uploads at least, {size.clients} clients with "
            f"{size.slots} uploads at a time, {', '.join(storage.name for storage in self._storages)}")  # fmt: skip
        with self._relay() as relay, self._proxy() as proxy:
            self._until("the workers", lambda: self._page("ready")[0] == 200, 60)
            try:
                self._warm_up()
                self._until_idle()
                begin = self._footprints(proxy)
                say(f"warm after {self._ledger.stored_count} uploads: {told(begin)}")
                report.faults += self._ledger.surprises()
                relay.send_signal(signal.SIGUSR1)
                began = time.monotonic()
                self._trouble(say, proxy)
                lasted = time.monotonic() - began
            finally:
                relay.send_signal(signal.SIGUSR2)
                self._end_clients()
                self._mend()
            self._ledger.read()
            self._until_idle()
            end = self._settled(proxy, begin)
            self._check_processes(report, begin, end)
            if proxy.poll() is not None:
                report.faults.append(f"the supervisor has ended with {proxy.returncode}")
        self._check_logs(report)
        self._check_objects(report, say)
        self._write(report, lasted, begin, end)
        return report

    # What runs

    @contextlib.contextmanager
    def _relay(self) -> Iterator[subprocess.Popen[bytes]]:
        probability = self._size.fault_probability
        lines = [("clients", self._port, self._inner_port)]
        lines += [(storage.name, self._storage_ports[storage.name], storage.port) for storage in self._storages]
        plan = {
            "seed": str(self._size.seed),
            "record": str(self._directory / "faults.jsonl"),
            "lines": [
                {"name": name, "port": port, "target_port": target, "probability": probability}
                for name, port, target in lines
            ],
        }
        path = self._directory / "relay.json"
        path.write_text(json.dumps(plan))
        directory = self._directory / "relay"
        directory.mkdir()
        with running(["-m", "tests.soak.relay", str(path)], directory, self._environment) as relay:
            self._until("the relay", lambda: bool(self._fault_records()), 30)
            yield relay

    @contextlib.contextmanager
    def _proxy(self) -> Iterator[subprocess.Popen[bytes]]:
        directory = self._directory
        storages = {storage.name: storage for storage in self._storages}
        keys, backends = [], []
        for account in self._accounts:
            storage = storages[account.storage]
            name = account.key_id.lower()
            keys.append(
                f'[[key]]\naccess_key_id = "{account.key_id}"\nsecret_access_key = "{_secret(account)}"\n'
                f'backend = "{name}"\n'
            )
            backends.append(
                f'[[backend]]\nname = "{name}"\nurl = "http://127.0.0.1:{self._storage_ports[storage.name]}"\n'
                f'access_key_id = "{storage.key_id}"\nsecret_access_key = "{storage.secret}"\n{account.options}\n'
            )
        (directory / "keys.toml").write_text("\n".join(keys))
        (directory / "keys.toml").chmod(0o600)
        (directory / "spool").mkdir()
        (directory / "s3proxy.toml").write_text(
            f"""[server]
listen = ["tcp:{self._inner_port}:interface=127.0.0.1"]
admin = "tcp:{self._admin_port}:interface=127.0.0.1"
workers = 2
spool_directory = "spool"
[credentials]
source = "file:keys.toml"
[limits]
unknown_length = "spool"
[times]
head = 10
idle = 10
keep_alive = 20
linger = 3
connect = 3
first_byte = 20
slow_first_byte = 40
pooled_idle = 2
breaker = 1
[log]
access = "access.log"
{"".join(backends)}"""
        )
        arguments = twistd_arguments(directory / "s3proxy.toml")
        with running(arguments, directory, {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}) as process:
            yield process

    def _client(self, *, count: int = 0, pause: float | None = None, former: str = "") -> Client:
        size = self._size
        number = next(self._names)
        if pause is None:
            # Twice as many as required: not all are stored, and some take long.
            pause = size.clients * size.slots * size.seconds / (2 * size.uploads)
        plan = {
            "name": f"c{number}",
            "seed": size.seed,
            "port": self._port,
            "bucket": BUCKET,
            "ledger": str(self._ledgers / f"c{number:06}.jsonl"),
            "slots": size.slots,
            "count": count,
            "pause": pause,
            "flaw_probability": size.flaw_probability,
            "keys": self._ledger.certain_keys(former) if former else [],
            "accounts": {account.key_id: _secret(account) for account in self._accounts},
        }
        return Client(self._directory, plan, self._environment)

    # Phases

    def _warm_up(self) -> None:
        size = self._size
        each = -(-size.warm_up // (size.clients * size.slots))
        self._clients = [self._client(count=each, pause=0.05) for _ in range(size.clients)]
        for client in self._clients:
            client.process.wait(300)
        self._ledger.read()

    def _trouble(self, say: Callable[[str], None], proxy: subprocess.Popen[bytes]) -> None:
        size, source = self._size, self._source
        self._clients = [self._client() for _ in range(size.clients)]
        began = time.monotonic()
        # A reload replaces all workers, so it is done early.
        actions: dict[str, tuple[float, Callable[[], str]]] = {
            "worker": (25, lambda: self._kill_worker(proxy)),
            "client": (12, self._kill_client),
            "reload": (30, lambda: self._reload(proxy) if time.monotonic() - began < size.seconds / 6 else ""),
        }
        for storage in self._storages:
            actions[storage.name] = (30, lambda storage=storage: self._kill_storage(storage))  # type: ignore[misc]
        # A short run also has some of each.
        means = {name: min(mean, size.seconds / 5) for name, (mean, _) in actions.items()}
        due = {name: began + source.uniform(0.3, 1) * mean for name, mean in means.items()}
        said = began
        while True:
            now = time.monotonic()
            stored = self._ledger.stored_count
            if now - began >= size.seconds and (stored >= size.uploads or now - began >= 3 * size.seconds):
                break
            for name, (_, act) in actions.items():
                if now >= due[name]:
                    killed = act()
                    if killed:
                        self._kills[killed] += 1
                    due[name] = now + source.uniform(0.4, 1.6) * means[name]
            for storage in self._storages:
                storage.restart_due(now)
            for number, client in enumerate(self._clients):
                if client.process.poll() is not None:
                    assert client.process.returncode == -signal.SIGKILL, "a client ended: see clients.log"
                    self._ledger.read()
                    self._clients[number] = self._client(former=client.name)
            self._ledger.read()
            if now - said >= 10:
                said = now
                say(self._progress(now - began, proxy))
            time.sleep(0.2)

    def _kill_worker(self, proxy: subprocess.Popen[bytes]) -> str:
        # The oldest is spared: a leak shows in a worker that has lived through everything else.
        workers = sorted(children(proxy), key=age_of)[:-1]
        if not workers:
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._source.choice(workers), signal.SIGKILL)
            return "worker"
        return ""

    def _reload(self, proxy: subprocess.Popen[bytes]) -> str:
        proxy.send_signal(signal.SIGHUP)
        return "reload"

    def _kill_client(self) -> str:
        self._source.choice(self._clients).process.kill()
        return "client"

    def _kill_storage(self, storage: Storage) -> str:
        part = storage.kill_one(self._source, time.monotonic())
        return part and f"{storage.name} {part}"

    def _end_clients(self) -> None:
        for client in self._clients:
            client.process.terminate()
        for client in self._clients:
            client.process.wait(300)

    def _mend(self) -> None:
        for storage in self._storages:
            storage.restart_due(float("inf"))
            storage.wait()

    # What is read

    def _progress(self, seconds: float, proxy: subprocess.Popen[bytes]) -> str:
        groups: Counter[str] = Counter()
        for entry in self._ledger.entries.values():
            groups[f"{entry.status[0]}xx" if entry.status[0] in "2345" else entry.status] += 1
        outcomes = " ".join(f"{name} {count}" for name, count in sorted(groups.items()))
        kills = " ".join(f"{name} {count}" for name, count in sorted(self._kills.items()))
        memory = [f"{item.memory / MIB:.0f}" for items in self._footprints(proxy).values() for item in items]
        return (
            f"{seconds:.0f} s: {len(self._ledger.entries)} uploads: {outcomes}; {len(self._fault_records())} faults; "
            f"kills: {kills}; MiB: {' '.join(memory)}"
        )

    def _page(self, name: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin_port}/{name}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def _metrics(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self._page("metrics")[1]):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums

    def _fault_records(self) -> list[dict[str, object]]:
        path = self._directory / "faults.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _footprints(self, proxy: subprocess.Popen[bytes]) -> Footprints:
        workers = []
        for pid in children(proxy):
            # A process may end meanwhile.
            with contextlib.suppress(OSError):
                workers.append(Footprint.of(pid))
        return {"supervisor": [Footprint.of(proxy.pid)], "worker": workers}

    def _settled(self, proxy: subprocess.Popen[bytes], begin: Footprints) -> Footprints:
        # A lingering connection or a starting worker is given time; a leak stays.
        for _ in range(120):
            end = self._footprints(proxy)
            if not self._descriptor_faults(begin, end):
                break
            time.sleep(0.5)
        return end

    def _descriptor_faults(self, begin: Footprints, end: Footprints) -> list[str]:
        return descriptor_faults(begin, end, self._size.clients * self._size.slots)

    def _until(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < until, f"{what}: not within {seconds} s"
            time.sleep(0.1)

    def _until_idle(self) -> None:
        def is_idle() -> bool:
            metrics = self._metrics()
            busy = (*GAUGES, "s3proxy_backend_connections", "s3proxy_client_connections")
            return self._page("ready")[0] == 200 and not any(metrics.get(name, 1) for name in busy)

        # The checks report what does not end.
        with contextlib.suppress(AssertionError):
            self._until("nothing to do", is_idle, 90)

    # Verdicts

    def _check_processes(self, report: Report, begin: Footprints, end: Footprints) -> None:
        metrics = self._metrics()
        report.faults += [f"{name} is {metrics.get(name)}" for name in GAUGES if metrics.get(name) != 0]
        report.faults += self._descriptor_faults(begin, end)
        report.faults += memory_faults(begin, end)
        deaths = metrics.get("s3proxy_worker_deaths_total")
        # A worker that was killed while it left because of a reload is not counted.
        if deaths is None or deaths > self._kills["worker"]:
            report.faults.append(f"{deaths} workers died, {self._kills['worker']} were killed")
        left = os.listdir(self._directory / "spool")
        if left:
            report.faults.append(f"left in the spool: {left}")

    def _check_logs(self, report: Report) -> None:
        for name in ("process.log", "clients.log", "relay/process.log"):
            text = (self._directory / name).read_text(errors="replace")
            found = re.search("Traceback|Unhandled", text)
            if found:
                report.faults.append(f"{name}: {text[max(0, found.start() - 500) : found.start() + 2000]}")

    def _check_objects(self, report: Report, say: Callable[[str], None]) -> None:
        entries = list(self._ledger.entries.values())
        report.faults += broken_promises(entries)
        stored = self._ledger.stored_count
        if stored < self._size.uploads:
            report.faults.append(f"only {stored} of {self._size.uploads} uploads were stored")
        storage_of = {account.key_id: account.storage for account in self._accounts}
        expected = expectations(entries)
        verified: Counter[str] = Counter()
        data = 0
        for storage in self._storages:
            keys = {key: item for key, item in expected.items() if storage_of[item.account] == storage.name}
            say(f"reading {len(keys)} keys from {storage.name}")
            unknown = storage.keys(BUCKET) - set(keys)
            report.faults += [f"{storage.name} lists {key}, which nobody uploaded" for key in sorted(unknown)]
            for key, digest, size in _read_all(storage, sorted(keys)):
                data += size
                fault = fault_of(keys[key], digest)
                if fault:
                    report.faults.append(f"{storage.name} {key}: {fault}")
                verified[sort_of(keys[key], digest)] += 1
        cells = ", ".join(f"{count} {sort}" for sort, count in verified.most_common())
        report.lines.append(f"read straight from the backends: {sum(verified.values())} keys, {data} bytes: {cells}")

    def _write(self, report: Report, lasted: float, begin: Footprints, end: Footprints) -> None:
        entries = list(self._ledger.entries.values())
        records = [record for record in self._fault_records() if "name" in record]
        faults = Counter(f"{record['name']} {record['kind']}" for record in records)
        overwrites = len(entries) - len({entry.upload.key for entry in entries})
        sent = sum(entry.upload.size for entry in entries)
        uncertain = sum(entry.is_uncertain for entry in entries)
        report.lines[:0] = [
            f"seed {self._size.seed}, {lasted:.0f} s",
            *table(entries),
            f"{len(entries)} uploads of {sent} bytes, {overwrites} to a key which had been used before",
            f"{self._ledger.stored_count} stored, {uncertain} of which the client cannot know",
            "faults of the network: " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())),
            "killed: "
            + ", ".join(f"{name} {count}" for name, count in sorted(self._kills.items()) if name != "reload"),
            f"reloads: {self._kills['reload']}",
        ]
        report.lines += [f"begin: {told(begin)}", f"end: {told(end)}"]


def _secret(account: Account) -> str:
    return f"secret-of-{account.key_id.lower()}-in-the-soak"


def _read_all(storage: Storage, keys: list[str]) -> list[tuple[str, str, int]]:
    def read(part: list[str]) -> list[tuple[str, str, int]]:
        with contextlib.closing(Reader(storage, BUCKET)) as reader:
            return [(key, *reader.read(key)) for key in part]

    with ThreadPoolExecutor(4) as threads:
        return [item for items in threads.map(read, [keys[start::4] for start in range(4)]) for item in items]
