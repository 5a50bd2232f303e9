"""The tax card behind a port. The card decides; the program only carries."""
