"""What fills the store: the estate's sources, and files.

sources.py     the sources that the estate names, by entry points
collecting.py  all of them at once, each within its time -> the store
importing.py   files -> the store
noting.py      changes of facts -> events of the journal
"""
