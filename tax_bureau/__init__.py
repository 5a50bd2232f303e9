"""The reference gateway: what users try and test against, because the real bureau is closed."""
