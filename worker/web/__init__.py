"""The web application: its server, the pages of households and operators, the OAuth proxy, and the JSON API.

The decisions are made elsewhere: ``worker.accounts.connect`` decides what a supplier's callback leads to, and the pages
and the API show measures as they are stored. Code that reads or writes a store may raise StoreUnavailable, which
``error_pages`` turns into an answer.
"""
