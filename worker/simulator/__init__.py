"""A pretend Enedis: how anyone tries Relève without a contract, and how tests ask the supplier's side of the story."""
