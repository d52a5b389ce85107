"""
The requests to a backend for one client request.
"""
