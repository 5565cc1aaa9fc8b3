"""Logins of the database: who connects, and which of the group roles they may take."""
