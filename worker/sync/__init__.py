"""Windows: which are due, their claims, their four steps, results, incidents, repair and audit.

Everything here that reads or writes a store raises StoreUnavailable; other errors are named where they are raised.
"""
