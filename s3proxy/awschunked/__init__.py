"""
The ``aws-chunked`` coding of bodies: chunks, their signatures, trailers and checksums.
"""
