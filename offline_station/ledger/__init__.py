"""The invoices: import, query, summary, detail against summary."""
