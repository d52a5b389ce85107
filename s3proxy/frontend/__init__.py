"""
Connections of clients: heads, bodies, times, and the site that listens.
"""
