"""The verbs of the online station (上网机). Each says what it did, what the state is, and what a person does next."""

# isort: off
from online_station.cli.base import main, program

# In the order in which the help lists their verbs.
from online_station.cli import setup, work, seeing, companies, deciding, stick, alarms, archiving, safekeeping, service
from online_station.cli import checks, logs
from shared.cli import add_standard_verbs

# isort: on

add_standard_verbs(program)
__all__ = [
    "alarms",
    "archiving",
    "checks",
    "companies",
    "deciding",
    "logs",
    "main",
    "program",
    "safekeeping",
    "seeing",
    "service",
    "setup",
    "stick",
    "work",
]
