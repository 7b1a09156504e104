"""The accounts of a home that is read through a gateway: added by a token, told of by `releve home`."""
