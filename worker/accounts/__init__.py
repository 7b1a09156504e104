"""Accounts from consent to erasure: connecting, refusals, notices, tokens, status, explanations.

Every function that reads or writes a store may raise StoreUnavailable; the docstrings name only other errors.
"""
