"""
A callout that keeps the secrets to itself: ``CALLOUT_TOKEN=... python callout.py secrets.json 8000``.

The file has secrets by access key id. s3proxy gets only what verifies the request at hand: the signing key of one day
and region, or the public key of Signature V4A.
"""

import base64
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from s3proxy.sigv4.asymmetric import derive_private_key

SECRETS = json.loads(Path(sys.argv[1]).read_text())
BEARER = "Bearer " + os.environ["CALLOUT_TOKEN"]


def describe(name: str, carrier: str, scope: str | None) -> dict[str, str] | None:
    """
    Return what verifies a request, or None if the key is unknown or signs with Signature V2, which needs the secret.
    """
    secret = SECRETS.get(name)
    if secret is None or scope is None:
        return None
    if carrier.startswith("v4a-"):
        public = derive_private_key(secret, name.encode()).public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"access_key_id": name, "public_key": base64.b64encode(der).decode()}
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return {"access_key_id": name, "signing_key": key.hex()}


class Callout(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), BEARER.encode()):
            self.respond(401, {})
            return
        name = question["access_key_id"]
        found = describe(name, question["carrier"], question["scope"])
        # A 404 names the key, so that it is not mistaken for that of a gateway.
        self.respond(*((404, {"access_key_id": name}) if found is None else (200, found)))

    def respond(self, status: int, document: dict[str, str]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Callout).serve_forever()
