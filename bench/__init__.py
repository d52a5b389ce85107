"""
What s3proxy costs, beside relays and beside its like: ``python -m bench --help``.
"""
