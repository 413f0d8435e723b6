"""consent_projector: folds permissions and tokens into the rows of its role's lane, and control beside."""

from __future__ import annotations

from typing import Any

from processors.lane.app import raw_topic
from processors.lane.hooks import Handler
from processors.lane.lane import Lane
from processors.topic_names import CONTROL, PERMISSIONS, TOKENS


def consent_projector(app: Any, lane: Lane, handler: Handler, control: Handler | None = None) -> None:
    """Register the agent on `app`; its chunks are folded by `lane` through `handler`, or `control`."""
    lane.handle(PERMISSIONS, handler)
    lane.handle(TOKENS, handler)
    topics = [PERMISSIONS, TOKENS]
    if control is not None:
        # A fact that was published after definitions must not meet the ones before them.
        lane.handle(CONTROL, control, leads=True)
        topics.append(CONTROL)

    @app.agent(raw_topic(app, *topics), name="consent_projector")  # type: ignore[untyped-decorator]
    async def project(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)
