"""
The configuration file: its options, how it is read, and its errors.
"""
