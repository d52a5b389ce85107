"""
An application with a page of its own beside S3, on one port: ``python hello.py s3proxy.toml tcp:8080``.
"""

import sys
import time
from pathlib import Path

from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.static import Data

from s3proxy import ProxyService, S3Site, load_settings


class Root(Resource):
    def getChild(self, path, request):
        return s3  # Whatever is no page of ours is a bucket.


reactor.seconds = time.monotonic
s3 = ProxyService(load_settings(Path(sys.argv[1])), reactor).make_resource()
root = Root()
root.putChild(b"hello", Data(b"Hello!\n", "text/plain"))
endpoints.serverFromString(reactor, sys.argv[2]).listen(S3Site(root, reactor))
reactor.run()
