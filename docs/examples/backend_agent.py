"""
Requests by treq over the connections of a backend: ``python backend_agent.py HOST PORT PATH``.
"""

import sys
import time

from treq.client import HTTPClient
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react

from s3proxy import BackendAgent, BackendLimits, Pool


async def main(reactor, host, port, path):
    reactor.seconds = time.monotonic
    agent = BackendAgent([Pool(reactor, HostnameEndpoint(reactor, host, int(port)), BackendLimits())])
    response = await HTTPClient(agent).get(f"http://{host}:{port}{path}")
    print(response.code, await response.text())
    await agent.close()


react(main, sys.argv[1:])
