"""Accounts, consents, their durations, and the scopes of API tokens."""
