"""
Connections to backends: a pool, its health, requests and responses over HTTP/1.1.
"""
