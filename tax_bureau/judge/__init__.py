"""The bureau's judgement: one pure function per file, asked in the field's order (see `order`)."""
