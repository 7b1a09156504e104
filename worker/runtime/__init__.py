"""The composition root: the only package that turns settings into stores, clients and use cases.

``stores`` opens the stores of a process; each of the other modules builds one part from them. ``current`` keeps the
parts for tasks. ``keys`` and ``supplier_settings`` also serve callers that need no store.
"""
