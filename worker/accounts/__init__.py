"""Accounts from consent to erasure: connecting, refusals, notices, tokens, status, explanations."""
