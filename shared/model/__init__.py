"""The shapes of what crosses the gap: report, result, clear receipt, trust file, standing."""
