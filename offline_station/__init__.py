"""The invoicing PC (开票机): card, ledger, sealing, clearing. Reaches no network."""
