"""
Signature Version 2.
"""
