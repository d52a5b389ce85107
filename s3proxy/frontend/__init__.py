"""
Client connections: heads, bodies, time limits, and the site that listens.
"""
