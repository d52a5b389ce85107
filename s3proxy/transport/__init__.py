"""
Bytes between sockets: writing, splicing, TLS records, time.
"""
