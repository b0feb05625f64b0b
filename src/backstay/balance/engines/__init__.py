"""Engines, one vendor a module; found by the entry points `backstay.engines`."""
