"""
``reload = "watch"``: one reload after the files have changed, whatever way they change, and none without a change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from s3proxy.configuration.loading import load_settings, read_configuration
from s3proxy.configuration.modes import Reload
from s3proxy.configuration.options import Settings
from s3proxy.daemon import watch
from s3proxy.daemon.notifier import DirectoryNotifier
from s3proxy.daemon.service import ProxyService
from s3proxy.daemon.watch import INTERVAL, MAX_UNSETTLED, SETTLE, ReloadWatch, make_notifier
from s3proxy.frontend.balance import Balance, SharedCounts
from tests.support.harness import turns, until
from tests.support.processes import write_configuration


class PlayedNotifier:
    """
    Reports when the test says so.
    """

    def __init__(self, directories: Iterable[Path], report: Callable[[], None]) -> None:
        self.directories = set(directories)
        self.report = report
        self.is_lost = False

    def loseConnection(self) -> None:
        self.is_lost = True


class Watched:
    """
    A configuration that is watched, and what is reloaded.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = write_configuration(directory, "http://127.0.0.1:1", server='reload = "watch"')
        self.keys = directory / "keys.toml"
        self.clock = Clock()
        self.notifiers: list[PlayedNotifier] = []
        self.reload_count = 0
        self.watch = ReloadWatch(self.clock, self.reload, self.make_notifier)
        self.settings: Settings = load_settings(self.path)
        self.watch.loaded(self.settings)

    def make_notifier(self, of: Any, directories: Iterable[Path], report: Callable[[], None]) -> PlayedNotifier:
        self.notifiers.append(PlayedNotifier(directories, report))
        return self.notifiers[-1]

    def reload(self) -> None:
        """
        Read the files again, as a daemon does.
        """
        self.reload_count += 1
        self.watch.loading()
        self.watch.loaded(self.settings)

    def wait(self, seconds: float) -> int:
        """
        Let time pass in small steps; return how many reloads there were so far.
        """
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
        return self.reload_count


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """
    A configuration with the other files in directories of their own.
    """
    return Watched(tmp_path)


def replace_file(path: Path, text: str) -> None:
    """
    Put another file in the place of one, as careful programs do.
    """
    other = path.with_name("other")
    other.write_text(text)
    other.rename(path)


CHANGES: dict[str, Callable[[Watched], object]] = {
    "written": lambda watched: watched.keys.write_text("# other keys\n"),
    "replaced": lambda watched: replace_file(watched.keys, watched.keys.read_text()),
    "removed": lambda watched: watched.keys.unlink(),
    "readable": lambda watched: watched.keys.chmod(0o644),
    "the configuration": lambda watched: replace_file(watched.path, watched.path.read_text()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_makes_one_reload(watched: Watched, change: str) -> None:
    """
    Without any report of the file system: the files are compared every few seconds.
    """
    assert watched.wait(3 * INTERVAL) == 0

    CHANGES[change](watched)

    assert watched.wait(INTERVAL + SETTLE + 0.2) == 1
    assert watched.wait(3 * INTERVAL) == 1


def test_other_files_make_no_reload(watched: Watched) -> None:
    """
    Even if the file system reports a change in the same directory.
    """
    (watched.directory / "access.log").write_text("a line\n")
    watched.notifiers[-1].report()

    assert watched.wait(3 * INTERVAL) == 0


def test_a_report_makes_it_quick(watched: Watched) -> None:
    """
    The comparison does not wait for its time.
    """
    replace_file(watched.keys, "# other keys\n")
    watched.notifiers[-1].report()

    assert watched.wait(2 * SETTLE + 0.2) == 1


def test_a_burst_makes_one_reload(watched: Watched) -> None:
    """
    Files that change one after the other are read when they have come to rest.
    """
    for number in range(8):
        replace_file(watched.keys, f"# {number}\n")
        watched.notifiers[-1].report()
        assert watched.wait(SETTLE - 0.1) == 0
        replace_file(watched.path, watched.path.read_text())
        watched.notifiers[-1].report()

    assert watched.wait(2 * INTERVAL) == 1


def test_a_file_that_never_rests_is_read_at_last(watched: Watched) -> None:
    """
    After some time, a change that goes on prevents no reload.
    """
    for number in range(round(INTERVAL / 0.1) + MAX_UNSETTLED * round(SETTLE / 0.1) + 40):
        watched.keys.write_text(f"# {number}\n")
        os.utime(watched.keys, ns=(number, number))
        watched.clock.advance(0.1)

    assert watched.reload_count == 1


def test_a_reload_for_another_reason_counts(watched: Watched) -> None:
    """
    After SIGHUP the same change makes no second reload.
    """
    replace_file(watched.keys, "# other keys\n")
    watched.reload()

    assert watched.wait(3 * INTERVAL) == 1


def test_a_change_while_files_are_read_counts(watched: Watched) -> None:
    """
    It may have come too late for this reload.
    """
    watched.watch.loading()
    replace_file(watched.keys, "# other keys\n")
    watched.watch.loaded(watched.settings)

    assert watched.wait(INTERVAL + SETTLE + 0.2) == 1


def test_the_files_of_refused_settings_are_watched(watched: Watched) -> None:
    """
    A reload failed because a new file was missing. When that file comes, it is tried again.
    """
    wanted = replace(watched.settings, file=watched.directory / "new.toml")
    watched.watch.loading()
    watched.watch.loaded(watched.settings, wanted)
    assert watched.wait(3 * INTERVAL) == 0

    (watched.directory / "new.toml").write_text("")

    assert watched.wait(INTERVAL + SETTLE + 0.2) == 1


def test_links_that_move_are_changes(tmp_path: Path) -> None:
    """
    Kubernetes mounts a secret as a link to a link to a directory, and moves the second one.
    """
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        write_configuration(tmp_path / name, "http://127.0.0.1:1", server='reload = "watch"')
    (tmp_path / "..data").symlink_to("..1")
    for name in ("keys.toml", "s3proxy.toml"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    clock, reloads, notifiers = Clock(), [], []

    def make(of: Any, directories: Iterable[Path], report: Callable[[], None]) -> PlayedNotifier:
        notifiers.append(PlayedNotifier(directories, report))
        return notifiers[-1]

    watching = ReloadWatch(clock, lambda: reloads.append(1), make)
    watching.loaded(load_settings(tmp_path / "s3proxy.toml"))
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    shutil.rmtree(tmp_path / "..1")
    clock.pump([0.1] * 60)

    assert reloads == [1]
    assert [{path.name for path in each.directories} for each in notifiers] == [
        {tmp_path.name, "..1"},
        {tmp_path.name, "..2"},
    ]


def test_a_notifier_that_is_lost_is_replaced(watched: Watched) -> None:
    """
    inotify ends if a directory is removed. Until then the comparisons continue.
    """
    watched.notifiers[-1].is_lost = True

    watched.wait(INTERVAL + 0.2)

    assert len(watched.notifiers) == 2


def test_without_the_option_nothing_is_watched(watched: Watched) -> None:
    """
    A reload turns it off, and on again.
    """
    server = replace(watched.settings.server, reload=Reload.SIGNAL)
    watched.watch.loaded(replace(watched.settings, server=server))
    assert watched.notifiers[-1].is_lost
    assert watched.clock.getDelayedCalls() == []

    replace_file(watched.keys, "# other keys\n")
    watched.watch.loaded(watched.settings)
    assert watched.wait(2 * INTERVAL) == 0
    watched.keys.unlink()
    assert watched.wait(2 * INTERVAL) == 1


def test_nothing_is_left_at_the_end(watched: Watched) -> None:
    """
    No timer, and no descriptor.
    """
    watched.watch.stop()

    assert watched.notifiers[-1].is_lost
    assert watched.clock.getDelayedCalls() == []


def test_a_directory_is_watched_with_its_files(tmp_path: Path) -> None:
    """
    An option may name a directory of certificates.
    """
    assert watch._version(tmp_path / "none") is None
    versions = [watch._version(tmp_path)]
    (tmp_path / "a").write_text("1")
    versions.append(watch._version(tmp_path))
    (tmp_path / "a").write_text("22")
    versions.append(watch._version(tmp_path))
    (tmp_path / "b").symlink_to("nowhere")
    versions.append(watch._version(tmp_path))

    assert len(set(versions)) == 4
    assert watch._version(tmp_path) == versions[-1]


@pytest_twisted.ensureDeferred
async def test_inotify_reports_at_once(tmp_path: Path) -> None:
    """
    A file that is written and closed, replaced or removed in a directory; not a write to a file that stays open. A
    directory that is removed ends it.
    """
    directories = [tmp_path / "a", tmp_path / "b"]
    for each in directories:
        each.mkdir()
    reports: list[int] = []
    notifier = make_notifier(reactor, [*directories, tmp_path / "none"], lambda: reports.append(1))
    assert isinstance(notifier, DirectoryNotifier)

    with (tmp_path / "a" / "log").open("w") as log:
        await until(lambda: reports)
        reports.clear()
        log.write("a line")
        log.flush()
        (tmp_path / "b" / "keys").write_text("")
        await until(lambda: len(reports) >= 2)
        reports.clear()
    await until(lambda: reports)
    (tmp_path / "b" / "keys").rename(tmp_path / "b" / "other")
    for each in directories:
        shutil.rmtree(each)
    await until(lambda: notifier.is_lost)
    notifier.loseConnection()
    await turns(10)

    assert notifier.fileno() not in {reader.fileno() for reader in reactor.getReaders()}


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_platform_without_inotify(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The comparisons are enough.
    """
    import builtins

    from twisted.internet import inotify

    if error is ImportError:
        real = builtins.__import__

        def refuse(name: str, *arguments: Any, **options: Any) -> Any:
            if name == "s3proxy.daemon.notifier":
                raise ImportError(name)
            return real(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", refuse)
    else:

        def fail() -> int:
            raise inotify.INotifyError("no more instances")

        monkeypatch.setattr(inotify._inotify, "init", fail)

    assert make_notifier(reactor, [], lambda: None) is None


@pytest_twisted.ensureDeferred
async def test_a_daemon_reloads_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A new key is accepted; a broken file is logged once, and the former keys stay.
    """
    monkeypatch.setattr(watch, "SETTLE", 0.01)
    monkeypatch.setattr(watch, "INTERVAL", 0.05)
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server='reload = "watch"', access="none")
    configuration = read_configuration(path)
    load = lambda: read_configuration(path).settings()  # noqa: E731
    service = ProxyService(configuration.settings(), reactor, load=load, handles_signals=False)
    keys, new = tmp_path / "keys.toml", '[[key]]\naccess_key_id = "NEW"\nsecret_access_key = "s"\n'
    former = keys.read_text()
    service.startService()
    try:
        with capturedLogs() as events:
            replace_file(keys, former + new)
            await until(lambda: service.credentials.look_up(b"NEW") is not None)
            replace_file(keys, "[[key]]\nnonsense = 1\n")
            await until(lambda: [event for event in events if "fault" in event])
            faults = [event["fault"] for event in events if "fault" in event]
            assert service.credentials.look_up(b"NEW") is not None
            replace_file(keys, former)
            await until(lambda: service.credentials.look_up(b"NEW") is None)
        assert faults == [event["fault"] for event in events if "fault" in event]
    finally:
        await service.stopService()

    assert all(str(keys) in fault for fault in faults)
    assert [event for event in events if event.get("log_failure")] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_only_one_process_of_a_daemon_watches(tmp_path: Path, workers: int) -> None:
    """
    The supervisor watches for its workers: each of them would reload by itself.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server='reload = "watch"', access="none")
    counts = SharedCounts(workers)
    balance = Balance(os.dup(counts.fd), 0) if workers > 1 else None
    service = ProxyService(load_settings(path), reactor, handles_signals=False, balance=balance)
    service.running = True
    loaded: list[Settings] = []
    service._watch.loaded = lambda *settings: loaded.extend(settings)  # type: ignore[method-assign]

    service._follow_files(service.generation.settings)

    assert len(loaded) == (workers == 1)
