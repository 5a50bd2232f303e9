"""Run the program of the invoicing PC: `python -m offline_station`."""

from offline_station.cli import main

main()
