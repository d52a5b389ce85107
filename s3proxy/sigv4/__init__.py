"""
Signature Version 4, and its asymmetric form.
"""
