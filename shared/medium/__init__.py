"""Files across the gap: the folder or stick that a person carries."""
