"""The consent flow: to the supplier's page and back, and the proxy for other services."""
