"""The soak: every transport under random load and chaos, for minutes or hours. See README.md."""
