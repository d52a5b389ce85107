"""
Where the keys of clients are kept.
"""
