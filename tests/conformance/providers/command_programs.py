"""The two programs that a user would write: `owner URL KEY ADDRESS`, `assign URL KEY ADDRESS NODE NODE-ADDRESS`."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.parse
import urllib.request

EX_TEMPFAIL = 75
EX_NOPERM = 77


def main() -> int:
    word, url, key, address, *rest = sys.argv[1:]
    query = {"address": address} | dict(zip(("node", "target"), rest, strict=False))
    request = urllib.request.Request(
        f"{url}/{word}?{urllib.parse.urlencode(query)}",
        headers={"X-Key": key},
        method="GET" if word == "owner" else "POST",
    )
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.read().decode(), end="")
    except urllib.error.HTTPError as error:
        print(f"HTTP {error.code}", file=sys.stderr)
        if error.code == 429:
            print(f"retry-after {error.headers['Retry-After']}")
        return {401: EX_NOPERM, 429: EX_TEMPFAIL, 503: EX_TEMPFAIL}.get(error.code, 1)
    except (OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
