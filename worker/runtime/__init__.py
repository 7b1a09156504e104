"""The composition root: the only package that turns settings into stores, clients and use cases.

``process`` builds the parts of one process, each when it is first asked for; other modules build what doors need alone.
"""
