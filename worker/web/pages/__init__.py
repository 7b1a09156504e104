"""Pages for people, a file each: those of households and of operators, and the endpoints of the OAuth proxy.

``worker.web.asgi`` says which of them a fleet has, and which a home.
"""
