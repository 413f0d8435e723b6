"""A Faust app whose transport, tables and recovery are the lane's."""

from __future__ import annotations

import tempfile
from typing import Any, Final

import faust
import mode

from processors.lane import transport
from processors.lane.heartbeat import Heartbeat
from processors.lane.probe import UNMEASURED, Probe
from processors.lane.recovery import LaneTableManager
from processors.lane.transport import ChunkStream, Fetch, RawSchema

BUFFER_CHUNKS: Final = 4_096
POLL_RECORDS_MAX: Final = 8_000
FETCH_BYTES_PER_PARTITION: Final = 1 << 20
REQUEST_TIMEOUT_S: Final = 30.0
HEARTBEATS_PER_SESSION: Final = 6


def lane_app(
    group: str,
    bootstrap: str,
    *,
    session_timeout_s: float,
    instance: str | None,
    fetch: Fetch,
    from_beginning: bool = False,
    probe: Probe = UNMEASURED,
) -> Any:
    """Create the app of one worker. `instance` makes its membership static (restarts move nothing).

    `from_beginning` ignores committed offsets of topics that no lane's table knows a position for.
    """
    app: Any = faust.App(
        group,
        broker=f"{transport.SCHEME}://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix=f"{group}-"),
        key_serializer="raw",
        value_serializer="raw",
        Stream=ChunkStream,
        TableManager=LaneTableManager,
        agent_supervisor=mode.CrashingSupervisor,
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFER_CHUNKS,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        broker_commit_interval=1.0,
        broker_commit_every=None,
        broker_max_poll_records=POLL_RECORDS_MAX,
        consumer_max_fetch_size=FETCH_BYTES_PER_PARTITION,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / HEARTBEATS_PER_SESSION,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_rebalance_timeout=REQUEST_TIMEOUT_S,
        producer_request_timeout=REQUEST_TIMEOUT_S,
    )
    app.lane_fetch = fetch
    app.lane_from_beginning = from_beginning
    app.lane_probe = probe
    app.lane_waits_outside = lambda: False  # an agent that waits for another system replaces it
    app.finalize()
    app.add_dependency(Heartbeat(probe))
    return app


def raw_topic(app: Any, *names: str) -> Any:
    """A channel over these topics that delivers chunks of raw records."""
    return app.topic(*names, schema=RawSchema(key_type=bytes, value_type=bytes))
