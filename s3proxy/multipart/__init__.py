"""
Multipart uploads that are kept here, for a storage system that has none.
"""
