"""What is declared: the estate file's model, loader with line numbers, checks, schema, placement arithmetic.

YAML text -> load (faults with line and column) -> Estate -> select, spare
"""
