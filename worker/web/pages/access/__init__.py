"""How a household gets in, and which of its browsers are signed in."""
