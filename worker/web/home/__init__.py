"""The pages of a home's installation: who comes in without a session, which addresses lead here, the first page."""
