"""What the agent costs, measured beside what else could do the same work; see docs/performance.md.

Each benchmark is a module here: `python -m benchmarks.NAME` measures, says on stderr what it does, and prints
its rows to stdout, one JSON object a line (`row.Row`). `python -m benchmarks` runs all and makes one table.
"""
