"""Pages for people, one file each: those of households and of operators, and the endpoints of the OAuth proxy.

``worker.web.asgi`` lists those that a fleet has, and those that a home has.
"""
