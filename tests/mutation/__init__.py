"""
Mutation testing of the rooms without I/O. A closed table has the surviving mutants, each with the reason why it is not
a gap in the tests.
"""
