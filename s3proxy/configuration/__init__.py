"""
The configuration file: its options, how it is read, and what is wrong with it.
"""
