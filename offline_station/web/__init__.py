"""The page of the invoicing PC."""
