"""./run bench audit [PART]: how often is the audit right, how sure is it, and what does it cost?

smoking-gun   real machines: does the class of the CPU model come first?
nulls         machines that are alike: what does it claim of them?
peers         real series with injected faults: who finds them?
changepoints  planted changes in real and made-up series: who finds them, and who finds others?
trends        growth of 1% a week, and none
scale         100,000 nodes, and one cluster of 4 over 4 weeks
fixes         a registered fix: how often is one confirmed that did nothing, and how soon one that did?
store         a month of 20 indicators of 100 nodes in the store, beside Parquet and SQLite

The data is not part of the project: `--data FILE.jsonl.gz`, or the folder BACKSTAY_AUDIT_DATA, or ../shared/data
beside the checkout.
"""
