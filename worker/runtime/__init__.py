"""The composition root: the only package that turns settings into stores, clients and use cases.

``stores`` opens what one process works with; each of the other modules builds one part from it. ``current`` keeps the
parts for tasks. ``keys`` and ``supplier_settings`` also serve those who need no store.
"""
