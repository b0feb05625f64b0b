"""What access keeps, in the server's database; its tables are made by the server's migrations."""

from backstay.server.access.store.agents import Agents
from backstay.server.access.store.gates import Gates
from backstay.server.access.store.people import People
from backstay.server.access.store.tokens import Tokens

__all__ = ["Agents", "Gates", "People", "Tokens"]
