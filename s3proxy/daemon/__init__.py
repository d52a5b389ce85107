"""
The processes of the daemon: supervisor, workers, sockets, reloads.
"""
