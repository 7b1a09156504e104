"""What GRDF ADICT is asked: tokens, consent page, rights, contract, technical data, daily and billed values."""
