"""The sync of windows: which windows are due, their claims, four steps and results; incidents, repair and audit.

Everything here that reads or writes a store raises StoreUnavailable; other errors are named where they are raised.
"""
