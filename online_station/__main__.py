"""`python -m online_station`."""

from online_station.cli import main

if __name__ == "__main__":
    main()
