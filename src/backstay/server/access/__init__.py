"""Who may: users, sessions, tokens, OpenID Connect, agents' secrets; and what stands before every request.

    wall.py -> answers.py -> depends.py (who is it? may they?) -> a handler of any room

    model.py      nouns; rules.py, refusals.py: decisions, pure
    tokens.py     secrets, hashes, the CSRF token; passwords.py: argon2
    store/        the tables, a class a topic
    registry.py   users, tokens and join tokens as admins keep them; the command line uses it, too
    shell.py      Access: who asks, logins, refusals; one a process
    depends.py    what routers write beside their handlers; answers.py: idempotency keys
    wall.py       limits, Host, deadlines, headers
    oidc.py       a provider's users
    routes/       the pages and the API of all this

docs/security.md has who may what, and the threats.
"""
