"""The flights of vega-datasets through producers, kills, rebalances and a check of every row."""
