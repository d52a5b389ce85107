"""
Multipart uploads that s3proxy keeps itself, for a storage system that has none.
"""
