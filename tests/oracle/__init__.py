"""
The oracle: a second opinion on every request that leaves a proxy under test.

It reads the bytes on both sides itself and shares no code with s3proxy. `wire` is a strict reader of HTTP/1.1 requests,
`operations` classifies them by botocore's model of S3, `judge` compares what the backend gets with what the client
signed, and `tap` sees the bytes. Every tolerated difference is a row of `judge.TOLERATED`.

The modules import each other relatively: child processes load them under another name, see ``site/sitecustomize.py``.
"""
