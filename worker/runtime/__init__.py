"""The composition root: the only package that turns settings into stores, clients and use cases.

``process`` holds the parts of one process; each other module builds the parts of one job, by keyword.
"""
