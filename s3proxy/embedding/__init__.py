"""
What an application embeds: its own resources behind the authentication of S3, and its own stores of keys.
"""
