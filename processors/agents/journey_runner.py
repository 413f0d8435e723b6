"""journey_runner: folds activity into subject rows, and fires what is due."""

from __future__ import annotations

from typing import Any

from processors.agents.subject_rows import SubjectHandler
from processors.lane.app import raw_topic
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.topic_names import ACTIVITY


def journey_runner(app: Any, lane: Lane, handler: SubjectHandler, hooks: Hooks, *topics: str) -> None:
    """Register the agent on `app`; journeys start, move and fire in the rows of `lane`.

    `topics`: what moves them beside activity.
    """
    for topic in (ACTIVITY, *topics):
        lane.handle(topic, handler)
    lane.hooks = hooks

    @app.agent(raw_topic(app, ACTIVITY, *topics), name="journey_runner")  # type: ignore[untyped-decorator]
    async def run(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)
