"""The checks that decide a report, one pure function per file, in the order of the field."""
