"""./run bench audit [PART]: how often is the audit right, how sure is it, and what does it cost?

smoking-gun   real machines: does the class of the CPU model come first?
nulls         machines that are alike: what does it claim of them?
peers         real series with injected faults: who finds them?
scale         100,000 nodes, and one cluster of 4 over 4 weeks

The data is not part of the project: `--data FILE.jsonl.gz`, or the folder BACKSTAY_AUDIT_DATA, or ../shared/data
beside the checkout.
"""
