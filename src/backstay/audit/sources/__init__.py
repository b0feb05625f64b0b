"""Where facts and indicators come from: files, nodes, and the tools that a site has already.

Facts, each a kind of `backstay.facts`
  file.py        what somebody wrote, or exported
  ssh/           our own collector: a script to each node
  facter.py      its JSON, from a folder or over SSH;  puppetdb.py  what Puppet's agents sent
  ansible.py     its fact cache;  osquery/  its tables and result log
  merge.py       what several sources say of a node -> one report (pure);  names.py  one name for one fact (pure)
  history.py     FactReports -> the facts as they are, and what changed (pure)
  tools.py       Facter's and Ansible's JSON -> facts (pure);  folder.py  a file a node;  reports.py  names, ages (pure)
Indicators, each a kind of `backstay.indicators`
  file.py        CSV (samplefile.py), Parquet (parquet.py)
  prometheus/  exporter/  counters/ (ssh)  tier/   hosts/ says which indicators a host has
  gridding.py    Series as they come -> tidy ones -> a grid (pure)
Shared
  settings.py    what the estate says, checked;  ssh/remote.py  one node over SSH;  asking.py  HTTP
  asked.py       many nodes at once;  reading.py, factfile.py  files within limits;  values.py  names, values (pure)
"""
