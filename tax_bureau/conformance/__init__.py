"""Whether a bureau, or a client of one, keeps the specification: found out from outside, requirement by requirement."""
