"""The composition root: the only package that turns settings into stores, clients and use cases.

``process`` builds all that one process works with, and ``current`` keeps it for tasks. ``web_access`` builds what
browsers need, when it is first asked for. ``stores``, ``keys`` and ``supplier_settings`` also serve those who need a
single part and no runtime.
"""
