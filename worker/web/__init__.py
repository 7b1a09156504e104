"""The web application: its server, the pages of households and operators, the OAuth proxy, and the JSON API.

Nothing here decides about measures: callbacks from suppliers go to ``worker.accounts.connect``, and pages and API only
show what is stored. Code that reads or writes a store may raise StoreUnavailable, which ``error_pages`` turns into an
answer.
"""
