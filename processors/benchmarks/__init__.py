"""Benchmarks: our roles beside stock Faust and a plain loop, in one run, on an embedded Kafka of its own.

Figures are void (an error, no result) unless the final state equals a plain fold of the same facts: a fast
wrong answer is no answer. Workers are pinned to one core and the servers to the others; CPU is that of all
threads of the worker's process; every producer asks for acks=all.

`suite`      the table of measurements, their sizes, and the goals as ratios of one run.
`arena`      the servers, fresh topics, and processes on their core.
`machine`    cores, CPU time and memory as the kernel tells them.
`load`       the facts that all contestants fold, and the plain fold that judges them.
`changelog`  follows a changelog while a role works.
`verdict`    compares final states; what differs is void.
`contest`    `consent`, `stock_faust` and `raw_c`; `stock_app` and `raw_loop` are the others' programs.
`state`, `recovery`, `metrics`, `latency`, `timers`, `revocation`: one measurement each.
`flame`      a flame graph of the consent role, and its largest costs.
`page`       the tables of the terminal and of docs/benchmarks.md.

This package is a shell of its own: like `commands/` and `wiring.py` it may know vendors, and `stock_app` is
the one module outside the lane and the agents that may know Faust, because Faust is what it measures.
"""
