"""Web application: the consent flow, the pages of households and of the operator, and the API.

Nothing here decides about measures. Callbacks of the supplier go to ``worker.accounts.connect``, and pages and API
show what is stored.
"""
