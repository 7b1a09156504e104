"""The composition root: the only package that turns settings into stores, clients and use cases.

``stores`` opens the stores of a process; ``web_access`` and the modules ``…_parts`` build the other parts from them.
``current`` keeps the parts for tasks. ``keys`` and ``supplier_settings`` also serve callers that need no store.
"""
