"""The sync finds and claims the windows that are due, runs their four steps, records the results, and audits accounts.

Everything here that reads or writes a store raises StoreUnavailable; other errors are named where they are raised.
"""
