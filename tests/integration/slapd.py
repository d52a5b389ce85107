"""
OpenLDAP's slapd from Debian's packages, configured as Debian does it, on loopback and in one directory.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from tests.clients.catalogue import apt_program
from tests.support.processes import end_all, free_port, wait_for_port

SUFFIX = "dc=example,dc=org"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{SUFFIX}", "the-password-of-the-administrator"
SCHEMA = Path("/etc/ldap/schema")

TEMPLATE = Path("/usr/share/slapd/slapd.init.ldif")
"""
The configuration that Debian's package gives to a new server.
"""

_TREE = f"""dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example
"""


class Slapd:
    """
    The server.

    Attributes:
        port: Its port for ``ldap``, with StartTLS if it has a certificate.
        tls_port: Its port for ``ldaps``.
        socket: The URL of its unix socket.
    """

    def __init__(self, directory: Path) -> None:
        self._program = apt_program("slapd", "slapd")
        self._modify = apt_program("ldap-utils", "ldapmodify")
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.tls_port = free_port(), free_port()
        self.socket = "ldapi://" + quote(str(directory / "ldapi"), safe="")
        (directory / "configuration").mkdir()
        (directory / "data").mkdir()
        configuration = TEMPLATE.read_text("utf-8")
        for former, this in (
            ("@SUFFIX@", SUFFIX),
            ("@PASSWORD@", ADMIN_PASSWORD),
            ("/var/run/slapd", str(directory)),
            ("/var/lib/ldap", str(directory / "data")),
            ("gidNumber=0+uidNumber=0", f"gidNumber={os.getgid()}+uidNumber={os.getuid()}"),
        ):
            configuration = configuration.replace(former, this)
        self._load("0", configuration)
        self._load("1", _TREE)

    def _load(self, number: str, text: str) -> None:
        # The program is slapd by another name.
        command = ["/usr/sbin/slapadd", "-F", str(self._directory / "configuration"), "-n", number]
        ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    def start(self) -> None:
        """
        Start it; return when it accepts connections.
        """
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} {self.socket}"
        command = [self._program, "-F", str(self._directory / "configuration"), "-h", urls, "-d", "stats"]
        with (self._directory / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """
        End it.
        """
        if self._process is not None:
            end_all([self._process])
            self._process = None

    def log(self) -> str:
        """
        Return what it has logged: a line for each operation.
        """
        return (self._directory / "slapd.log").read_text(errors="replace")

    def configure(self, text: str) -> None:
        """
        Change its configuration.
        """
        self._run(["-Q", "-Y", "EXTERNAL"], text)

    def change(self, text: str) -> None:
        """
        Change entries, as the administrator. An entry without a kind of change is added.
        """
        self._run(["-x", "-D", ADMIN, "-w", ADMIN_PASSWORD], text)

    def _run(self, options: list[str], text: str) -> None:
        command = [self._modify, "-a", "-H", self.socket, *options]
        for _ in range(200):
            ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
            # The socket may listen a moment after the port.
            if "Can't contact" not in ran.stderr:
                break
            time.sleep(0.05)
        assert ran.returncode == 0, ran.stderr + self.log()[-1000:]
