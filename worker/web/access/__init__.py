"""How a household signs in, and the page on which it prepares for that."""
