"""
The version of s3proxy.
"""

__version__ = "0.1.0"
