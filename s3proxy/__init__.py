"""
A Twisted reverse proxy for S3: it authenticates as S3 does, verifies every byte as it streams, and signs each request
again for the backend.
"""

__version__ = "0.1.0"
