"""
Uploads by HTML forms, and their policies.
"""
