"""
The head that a backend gets, with our signature, and the one that a client gets back.
"""
