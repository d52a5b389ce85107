"""
What is asked of a backend for one request.
"""
