"""Private keys behind ports: a key file today, a token tomorrow. PINs and keys have a type that never prints."""
