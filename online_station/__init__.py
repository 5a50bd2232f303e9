"""The Internet PC (上网机): watches, proves, uploads, asks, stages results."""
