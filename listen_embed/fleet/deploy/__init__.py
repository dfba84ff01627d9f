"""Models brought to devices."""
