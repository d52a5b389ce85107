"""
A page that stores each upload whose signature and bytes are verified: ``python signed_uploads.py tcp:8080 DIRECTORY``.
"""

import sys
import time
from pathlib import Path
from uuid import uuid4

from own_store import Accounts
from twisted.internet import endpoints, reactor
from twisted.internet.interfaces import IConsumer
from twisted.web.resource import Resource
from zope.interface import implementer

from s3proxy import IStreamedResource, S3Site, authenticated


@implementer(IConsumer)
class NewFile:
    def __init__(self, path):
        self._file = path.open("wb")

    def registerProducer(self, producer, streaming):
        pass  # A slow consumer keeps the producer, and pauses it.

    def unregisterProducer(self):
        self._file.close()

    def write(self, data):
        self._file.write(data)


@implementer(IStreamedResource)
class Uploads:
    def __init__(self, directory):
        self._directory = directory

    async def render(self, request):
        part = self._directory / f"{uuid4()}.part"
        try:
            await request.deliverBody(NewFile(part))
            # Only now is it what the client signed.
            part.rename(self._directory / request.authenticated.access_key_id.decode())
        finally:
            part.unlink(missing_ok=True)
        return b"stored\n"


reactor.seconds = time.monotonic
root = Resource()
accounts = Accounts({"AKIAEXAMPLE": "the-secret-of-the-example"})
root.putChild(b"uploads", authenticated(Uploads(Path(sys.argv[2])), accounts, reactor))
endpoints.serverFromString(reactor, sys.argv[1]).listen(S3Site(root, reactor))
reactor.run()
