"""Queue worker: takes a message every so often, works on it, and says every few seconds how many it has done.

python -m backstay.lab.hosts.worker --name queue1 --rate 20
"""

from __future__ import annotations

import argparse
import signal
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    done = 0
    reported_at = time.monotonic()
    while True:
        time.sleep(1 / options.rate)
        done += 1
        if time.monotonic() - reported_at >= 10:
            print(f'{{"worker": "{options.name}", "messages": {done}}}', flush=True)  # noqa: T201 - its log
            reported_at = time.monotonic()


if __name__ == "__main__":
    main()
