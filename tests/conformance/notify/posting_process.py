"""Puts one page and tries to deliver it, until it is killed. Arguments: FOLDER OUTBOX; stdin: the estate's `notify`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from notify_pages import PAGE

from backstay.estate.model import Notify
from backstay.notify import Outbox, Post
from backstay.notify.channels import configured


async def main() -> None:
    folder, outbox = Path(sys.argv[1]), Path(sys.argv[2])
    notify = Notify.model_validate_json(sys.stdin.read())
    post = Post(Outbox(outbox), configured(notify, folder), lambda *_, **__: None)
    post.put(PAGE)
    print("put", flush=True)
    await post.run()


asyncio.run(main())
