"""
The oracle: a second opinion on every request that leaves a proxy under test.

It reads the bytes on both sides itself and shares no code with s3proxy. `wire` is a strict reader of HTTP/1.1 requests,
`operations` classifies them by botocore's model of S3, `judge` compares what the backend gets with what the client
signed, `tap` sees the bytes, and `fixture` fails the test in which a breach happens.

A breach names its rule, (a) to (e) as in `judge`, and shows the client's head and the backend's. Then either the proxy
is wrong, or the oracle lacks a difference that is right. Such a difference is a row of `judge.TOLERATED`, with its
reason.

The modules import each other relatively: child processes load them under another name, see ``site/sitecustomize.py``.
"""
