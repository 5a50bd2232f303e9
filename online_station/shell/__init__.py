"""What the Internet PC does: watch, ask, store, stage."""
