"""What the load-balancer tier did for each backend: the kind `tier`, and the unit of work without further set-up.

tally.py    what every load balancer counted -> totals of the whole tier that only grow (pure)
reading.py  an agent's /metrics -> what it counted (pure)
memory.py   the tally between two runs: a file of the audit's state
source.py   every agent is asked; -> Series
"""

from backstay.audit.sources.tier.reading import WORK
from backstay.audit.sources.tier.source import TierIndicators, TierSettings, indicators

__all__ = ["WORK", "TierIndicators", "TierSettings", "indicators"]
