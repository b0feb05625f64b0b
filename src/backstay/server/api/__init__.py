"""/api/v1: one room a module, each with its `router`; app.py includes them by a list."""
