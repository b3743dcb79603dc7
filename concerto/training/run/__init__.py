"""A run, whatever it trains: its loop, its processes, its folder."""
