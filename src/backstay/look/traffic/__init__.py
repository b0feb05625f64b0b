"""Traffic of the witness: `python -m backstay.look.traffic --help`.

    arrivals (open loop) or clients (closed loop) -> connections -> answers -> fates -> witness -> JSON lines

    frames.py      WebSocket frames (pure)
    connection.py  one connection: at most one request in flight, and what became of it
    websocket.py   WebSockets that are kept open and echo
    run.py         open loop and closed loop
    report.py      JSON lines
    __main__.py    the program

Why not aiohttp: the witness shares the cores with the engines that it judges, and a lean asyncio Protocol costs a
fraction of the CPU a request. And it must see what a client library hides on purpose: a kept connection that is closed
after a request was written, which aiohttp retries by itself for idempotent methods. Only the standard library and
two pure modules of look are imported, so that a process in each namespace costs little.

What a server must do to be witnessed: answer each request with its `X-Witness-Id` in a header or in the body (a server
that echoes a POST's body does), and each WebSocket message with the same message.
"""
