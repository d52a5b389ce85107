"""
One request, from its head to its access log entry.
"""
