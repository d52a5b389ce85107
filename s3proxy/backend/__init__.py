"""
Connections to storage systems: a pool, its health, requests and answers over HTTP/1.1.
"""
