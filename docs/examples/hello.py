"""
An application with a page of its own beside S3, on one port: ``python hello.py BACKEND_URL KEYS_FILE``.
"""
