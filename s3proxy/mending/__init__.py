"""
Corrects the differences between a storage system and S3, in requests and responses.
"""
