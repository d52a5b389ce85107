"""
What an authenticated client may do.
"""
