"""
What S3 is, without any input or output: heads, addresses, operations, errors, documents.
"""
