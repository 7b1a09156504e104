"""Accounts from consent to erasure: connecting, refusals, notices, tokens, status, explanations.

Everything that reads or writes a store raises StoreUnavailable; docstrings name only further errors.
"""
