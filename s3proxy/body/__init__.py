"""
The body of a client's request: how it is decoded, what is verified, and what is withheld until then.
"""
