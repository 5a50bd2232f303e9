"""`python -m tax_bureau` is `tax-bureau`."""

from tax_bureau.cli import main

main()
