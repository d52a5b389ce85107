"""
Names the command ``twistd s3proxy``. twistd reads this whenever it starts, so nothing of ours is imported here.
"""

from twisted.application.service import ServiceMaker

s3proxy = ServiceMaker("s3proxy", "s3proxy.daemon.tap", "A reverse proxy for S3 storage.", "s3proxy")
