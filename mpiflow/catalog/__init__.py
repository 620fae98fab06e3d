"""The catalog: what exists and where, on every rank; entries, their merge, queries, and the wire form of deltas."""
