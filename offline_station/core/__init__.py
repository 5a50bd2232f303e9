"""Pure decisions of the invoicing PC: no input, no output, the time is an argument."""
