"""Windows: which are due, their claims, their four steps, results, incidents, repair and audit.

Whatever reads or writes a store raises StoreUnavailable; where one raises more, it says so.
"""
