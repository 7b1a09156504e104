"""How households get back in: recovery codes, and links that are sent by mail."""
