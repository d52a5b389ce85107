"""
Measure the CPU time of s3proxy, of plain relays and of other S3 proxies: ``python -m bench --help``.
"""
