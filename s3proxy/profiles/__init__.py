"""
What each storage system can do, and what it does differently from S3.
"""
