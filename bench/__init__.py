"""The figures of the design, measured: one module a figure, `python -m bench [name ...]` prints them as a Markdown table.

Everything is real: PostgreSQL, processes, HTTP on 127.0.0.1, the simulator. Nothing is asserted, because figures move with
the machine; what would make a figure meaningless (a wrong answer, a failed call) ends the run. It is no part of the wheel.
"""
