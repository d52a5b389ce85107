"""
What a storage system does differently from S3, mended on the way.
"""
