"""People and programs that may use the farm: who they are, what they may, and what they did.

Owns users, passwords, sessions, API keys and the limits of logging in. Must not know HTTP, SQL or
printers.
"""
