"""What the audit's pages show, of results that its passes kept. Pure.

clusters.py   every cluster by its worst finding; one cluster: its indicators and fact differences
finding.py    one finding: who differs, what fits, for and against, the next experiment, a fix to register
chart.py      series as a chart's columns, with the table and the sentence beside it
fixes.py      registered fixes; one, before and after
review.py     the week
words.py      grades and intervals for people
"""
