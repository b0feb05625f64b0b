"""What runs on the lab's hosts. Each module is a program of its own, and imports little before it is asked: some dozens
of them are up in a second or two.
"""
