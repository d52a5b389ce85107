"""
The sources of clients' keys.
"""
