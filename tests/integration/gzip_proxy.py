"""
An nginx that compresses all XML of a storage system, for every client that accepts it.
"""

from __future__ import annotations

from pathlib import Path

from tests.clients.catalogue import apt_program
from tests.support.processes import free_port


def compressing_command(directory: Path, storage_port: int) -> tuple[list[str], int]:
    """
    Return the command line of an nginx in front of a storage system, and its port.

    Args:
        directory: Directory for its files.
    """
    port = free_port()
    (directory / "nginx.conf").write_text(nginx_configuration(directory, port, storage_port))
    return [apt_program("nginx-light", "nginx"), "-p", str(directory), "-c", "nginx.conf"], port


def nginx_configuration(directory: Path, port: int, storage_port: int) -> str:
    """
    Write the configuration of an nginx that compresses all XML of a storage system.
    """
    temporary = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
{temporary}    gzip on;
    gzip_types application/xml text/xml;
    gzip_min_length 1;
    gzip_proxied any;
    upstream storage {{
        server 127.0.0.1:{storage_port};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        # Its workers are of another user, who may not write here: what a client does not take stays at the storage.
        proxy_max_temp_file_size 0;
        location / {{
            proxy_pass http://storage;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
