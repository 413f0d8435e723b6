"""What a worker tells about itself: metrics from one catalogue, and health and readiness over HTTP.

`metric`      the kinds of metric; `catalogue`: the table of all metrics: nothing else is measured.
`meters`      takes measurements, or forgets them where nobody asks.
`exposition`  the meters that Prometheus reads; the one module that knows its library.
`health`      whether the process lives and whether it does its work, as plain values.
`lane_meter`  hears what the lane does and keeps both up to date.
`endpoint`    `/metrics`, `/healthz` and `/readyz`, from threads of their own; `readiness` asks there.
`telemetry`   all of it for one worker.

Where to add the next thing: docs/how-to/add-a-metric.md.
"""
