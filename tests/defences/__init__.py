"""
Every defence, and the test that fails without it.
"""
