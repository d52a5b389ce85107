"""
Mutation testing of the rooms without I/O. What survives is in a closed table, with the reason why that is no fault.
"""
