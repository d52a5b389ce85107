"""
Who sent a request, and what its signature covers.
"""
