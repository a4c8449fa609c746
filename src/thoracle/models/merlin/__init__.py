"""The Merlin family: Merlin, Astra and CAPTOR."""
