"""The server: what a team desires, kept and told to the agents; and what they report, shown.

model.py      nouns; ports.py: the Store
store/        SQLite and PostgreSQL, one class; its migrations stand beside the journal's in the same database
weigh.py      pure: what a selector means, the guard over several nodes, what each agent is to be told
shell.py      the Server: weighs, journals and stores in one transaction, wakes who waits
access/       who may: users, tokens, sessions, OpenID Connect, agents' credentials
app.py        FastAPI: middleware, problem details, the routers of api/ and console/
api/          /api/v1, one room a module
views/        pure: a Snapshot -> what a page or an answer shows
console/      pages: Jinja2 templates, htmx, uPlot
run.py        uvicorn, TLS, the scheduler; init.py: the first start
"""
