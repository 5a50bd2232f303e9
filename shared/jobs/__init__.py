"""Durable jobs on SQLite or PostgreSQL: the row of a thing says what is to be done about it next, and when.

    database   one way to open, read, write and migrate both kinds of database
    rows       claim, hold, save, settle: leases with a fencing token, and the order of lanes
    limits     how fast a host may be asked, and when it is left alone (pure)
    limiter    the same, kept in a row that all nodes share
    pool       threads that do what is due

Whoever uses it keeps two rules. **Decide, save, then act**: before an effect, the step that asks what became of it is
saved; so a worker that dies leaves a question and not a repetition. **Every effect can run twice**: between an effect
and the note of it a process can die, and no engine can close that gap; the receiver knows the key.

Never imported by the invoicing PC. See decision 9 in the manual.
"""
