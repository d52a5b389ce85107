"""
Move bytes between sockets: writing, splicing, TLS records, deadlines, rates.
"""
