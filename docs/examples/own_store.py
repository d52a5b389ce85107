"""
The keys of an application, in place of a keys file.
"""

from zope.interface import implementer

from s3proxy import Credential, ICredentialStore


@implementer(ICredentialStore)
class Accounts:
    def __init__(self, secrets):
        self._secrets = secrets

    def look_up(self, access_key_id):
        name = access_key_id.decode("latin-1")
        return Credential(name, (self._secrets[name],)) if name in self._secrets else None
