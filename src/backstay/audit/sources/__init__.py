"""Where facts and indicators come from when there is no store: files.

reading.py    text of a file within limits, gz too; faults with their line
factfile.py   JSON lines, JSON, YAML, a folder of facter, ansible or lscpu files -> FactReport
history.py    FactReports -> the facts as they are, and what changed (pure)
samplefile.py CSV -> Series;  parquet.py  the same from Parquet, through DuckDB
gridding.py   Series as they come -> tidy ones -> a grid (pure)
file.py       both as the sources that ports.py describes
"""
