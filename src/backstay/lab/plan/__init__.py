"""What to build and what a fault is made of. Pure."""
