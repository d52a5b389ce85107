"""
What operators read: the access log, metrics and the admin endpoint.
"""
