"""
The ``s3proxy doctor`` command: what a storage does, seen by doing it there.
"""
