"""The third door: consent, accounts, consumption pages and API.

Nothing here decides anything about measures: it hands callbacks to ``worker.accounts.connect`` and reads
what is stored.
"""
