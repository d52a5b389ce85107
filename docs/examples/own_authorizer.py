"""
A decision of the application's own: some keys may write, all others only read.
"""

from zope.interface import implementer

from s3proxy import AccessDenied, IAuthorizer


@implementer(IAuthorizer)
class Writers:
    def __init__(self, names):
        self._names = names

    def authorize(self, asked):
        if not asked.operation.is_read and asked.authenticated.access_key_id not in self._names:
            raise AccessDenied
