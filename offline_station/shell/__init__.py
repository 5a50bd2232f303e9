"""What the invoicing PC does to its disk: store, spool, backup, locks."""
