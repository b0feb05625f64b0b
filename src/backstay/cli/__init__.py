"""Commands and their renderers. A command parses, calls its room, and emits; it decides nothing."""
