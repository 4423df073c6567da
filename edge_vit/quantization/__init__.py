"""Which operator runs in which precision, and the ranges that make it so."""
