"""Pages for people, one file each: those of households and of operators, and the endpoints of the OAuth proxy.

``worker.web.asgi`` lists the pages of a fleet and those of a home.
"""
