"""
The ``s3proxy doctor`` command: tests what a storage system does.
"""
