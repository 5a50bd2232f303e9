"""Pure decisions of the Internet PC: no input, no output, the time is an argument."""
