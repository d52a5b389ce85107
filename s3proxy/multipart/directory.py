"""
The directory of multipart uploads: where it is if no option says so, who may reach it, and that one daemon has it.

It is found and made when the daemon runs as the user that it is to run as: twistd may have begun as root.

Source:
    "XDG Base Directory Specification", XDG_STATE_HOME; "systemd.exec", StateDirectory=; Filesystem Hierarchy Standard,
    ``/var/lib``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "multipart"

SYSTEM_DIRECTORY = Path("/var/lib/s3proxy")
"""
Where a daemon keeps its state that the system starts.
"""

DAEMON = "daemon.lock"
"""
The file that a daemon holds a lock on, and writes its process id into.
"""

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ROOT = 0


class CannotKeepUploads(Exception):
    """
    The directory cannot be used; the text tells why.
    """


class NoDirectory(CannotKeepUploads):
    """
    No option names a directory, and none of the default ones can be used; the text tells why not.
    """


def default_directories(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """
    Return where uploads may be kept if no option says so, best first.
    """
    found: list[Path] = []
    # systemd may have made several; the first is the unit's own.
    state_directory = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if state_directory:
        found.append(Path(state_directory) / NAME)
    found.append(SYSTEM_DIRECTORY / NAME)
    homes = [environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")]
    # After `twistd --uid` the environment is still that of the user who started it.
    with contextlib.suppress(KeyError):
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    for number, home in enumerate(homes):
        # A relative path is to be ignored.
        if home.startswith("/"):
            state = Path(home) if number == 0 else Path(home) / ".local" / "state"
            found.append(state / "s3proxy" / NAME)
    return list(dict.fromkeys(found))


def find_directory(named: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """
    Return the directory that this user is to keep uploads in. Nothing is made.

    Args:
        named: By an option; None to find the first default that can be used.

    Raises:
        NoDirectory: None of them can be used.
    """
    if named is not None:
        return Path(named)
    reasons = []
    for directory in default_directories(environment):
        try:
            _check_parents(directory)
            _check(directory)
        except CannotKeepUploads as error:
            reasons.append(str(error))
        else:
            return directory
    raise NoDirectory("; ".join(reasons))


def make_directory(directory: Path, *, makes_parents: bool = False) -> None:
    """
    Make a directory that is ours alone, unless it is there.

    Raises:
        CannotKeepUploads: What is there is not ours, or others can reach it.
        OSError: It cannot be made.
    """
    if makes_parents:
        for parent in reversed(directory.parents):
            if not parent.exists():
                _make(parent)
    _make(directory)
    _check(directory)


def _make(directory: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)


def _check(directory: Path) -> None:
    """
    Raises:
        CannotKeepUploads: It is there, and not ours alone.
    """
    try:
        link, found = os.lstat(directory), os.stat(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotKeepUploads(f"{directory}: {error.strerror}") from None
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in {_ROOT, os.geteuid()}:
        # Its owner may let it lead to another place at any time.
        raise CannotKeepUploads(f"{directory}: is a symbolic link of another user")
    if not stat.S_ISDIR(found.st_mode):
        raise CannotKeepUploads(f"{directory}: is no directory")
    if found.st_uid != os.geteuid():
        raise CannotKeepUploads(f"{directory}: must belong to the user that the daemon runs as")
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OF_OTHERS:
        raise CannotKeepUploads(f"{directory}: others can reach it (its mode is {mode:04o}); use chmod 700")
    above = os.stat(directory.parent)
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        raise CannotKeepUploads(f"{directory.parent}: every user of this machine can replace what is in it")


def _check_parents(directory: Path) -> None:
    """
    Raises:
        CannotKeepUploads: It is not there, and we cannot make it in a place that root or this user has.
    """
    place = directory
    while not os.path.lexists(place):
        place = place.parent
    if place == directory:
        return
    try:
        found = os.stat(place)
    except OSError as error:
        raise CannotKeepUploads(f"{place}: {error.strerror}") from None
    if found.st_uid not in {_ROOT, os.geteuid()} or not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        raise CannotKeepUploads(f"{directory}: cannot be made in {place}")
    if found.st_mode & stat.S_IWOTH:
        raise CannotKeepUploads(f"{place}: every user of this machine can write to it")


class DirectoryClaim:
    """
    A directory that no other daemon of this machine has until this one gives it up. Its workers share it.

    Args:
        named: By an option; None to find a default one, which is made with all that it is in.

    Attributes:
        named: As it was given.
        directory: Where it is; it is there, and ours alone.

    Raises:
        NoDirectory: None is named, and none can be used.
        CannotKeepUploads: It cannot be used, or another daemon has it.
    """

    def __init__(self, named: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self.named = named
        self.directory = directory = find_directory(named, environment)
        try:
            make_directory(directory, makes_parents=named is None)
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(directory / DAEMON, flags, 0o600)
        except OSError as error:
            raise CannotKeepUploads(f"{error.filename or directory}: {error.strerror}") from None
        if not lock(self._fd):
            process = os.pread(self._fd, 20, 0).strip().decode("latin-1")
            self.give_up()
            raise CannotKeepUploads(
                f"{directory}: another daemon, process {process}, keeps its uploads there; give each its own"
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def give_up(self) -> None:
        """
        Let another daemon have it: this one ends, and takes no new upload. It may come twice.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def lock(fd: int) -> bool:
    """
    Lock a file; return False if somebody has a lock on it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """
    Let no other process do the same at the same time.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """
    Have the names in a directory on disk.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
