"""Accounts from consent to erasure: connecting, refusals, notices, tokens, status, explanations.

Whatever reads or writes a store raises StoreUnavailable; where one raises more, it says so.
"""
