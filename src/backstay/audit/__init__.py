"""The audit: which of the nodes that ought to be alike differs, and which fact explains it.

    sources/ -> FactTable ----------------------------------.
                                                             >- explain -> grade -> Finding -> report/
    sources/ -> rates -> Grid -> work -> compare -> Comparison -'

model.py, ports.py   FactTable, Grid, Finding, ...; the sources and stores that are plugged in
examine.py           one indicator of one cluster through all steps: begin to read here
work.py              normalise by work
compare/             peer-relative series, effective samples, who differs, and how the cluster splits
forms.py             the partitions that a cause may show in the data
marginal.py          how well a partition predicts the levels
explain/             alias classes, their Bayes factors and priors; replication; natural experiments; the grade
fleet.py             thousands of nodes: who differs, support and risk ratio of facts, false discoveries under control
differences.py       the facts in which nodes differ, by how they split them; noise folded away
catalogue.py         what is known of an indicator by its name; rates.py: counters -> rates
knowing.py           what the fleet and the past say beyond one cluster
review/, fix/        what is slowly getting worse; planned changes that prove a cause
report/              terminal, Markdown, HTML, JSON
sources/             who knows facts and indicators: ssh, exporters, Prometheus, Puppet, ..., files
store/               what was read, in one DuckDB file
desk/                all of it for one estate and one store: what the command line and the server ask
child.py             the desk in a process of its own, for the server

All but sources/, store/, desk/ and child.py are pure. They import numpy and scipy, so other rooms import this one
inside functions. docs/audit.md tells how it decides.
"""
