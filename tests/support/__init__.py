"""What several tests need: a small certificate world, samples."""
