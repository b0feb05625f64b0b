"""What runs on the lab's hosts. Each module is a program of its own on the standard library alone: a dozen of them are
up in a second.
"""
