"""The serving layer: settlement on chain, the independent verifier and the report."""
