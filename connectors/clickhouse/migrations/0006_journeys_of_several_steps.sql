-- Journeys of several steps: which message, which arm of a split, and a funnel that counts each push.

ALTER TABLE decision_facts
    ADD COLUMN IF NOT EXISTS message LowCardinality(String) COMMENT 'PushDecided: name of the message',
    ADD COLUMN IF NOT EXISTS arm LowCardinality(String) COMMENT 'the arm of the last random split on the way, as step:arm',
    ADD COLUMN IF NOT EXISTS item_version Nullable(Int64) COMMENT 'version of the state of the item that the push reports';

-- What became of the journeys that started on a day, up to the order that followed a push. `started`, `converted`,
-- `dropped` and `open` count instances, the rest counts candidates: an instance has one for each push that it asked for.
-- An order is credited to the last push that was decided before it, within that journey's attribution window;
-- a push counts once, however many opens and orders follow.
CREATE OR REPLACE VIEW journey_funnel AS
WITH
    started AS
    (
        SELECT instance, app, journey, toDate(occurred_at, 'UTC') AS day
        FROM decision_facts FINAL
        WHERE fact = 'JourneyStarted'
    ),
    ended AS
    (
        SELECT instance, any(outcome) AS ending
        FROM decision_facts FINAL
        WHERE fact = 'JourneyEnded'
        GROUP BY instance
    ),
    decided AS
    (
        SELECT instance, decision_id, argMax(verdict, revision) AS last_verdict
        FROM decision_facts FINAL
        WHERE fact = 'PushDecided'
        GROUP BY instance, decision_id
    ),
    accepted AS (SELECT DISTINCT decision_id, push_id FROM delivery_facts WHERE fact = 'PushAccepted'),
    opened AS
    (
        SELECT DISTINCT accepted.decision_id AS decision
        FROM accepted
        INNER JOIN (SELECT DISTINCT push_id FROM activity_facts WHERE fact = 'PushOpened') AS opens
            ON opens.push_id = accepted.push_id
    ),
    ordered AS
    (
        SELECT DISTINCT sends.decision_id AS decision
        FROM
            (SELECT subject, occurred_at AS ordered_at FROM activity_facts FINAL WHERE fact = 'OrderPlaced') AS orders
        ASOF INNER JOIN
            (
                SELECT subject, decision_id, occurred_at AS sent_at, attribution_ms
                FROM decision_facts FINAL
                WHERE verdict = 'send'
            ) AS sends
            ON sends.subject = orders.subject AND orders.ordered_at >= sends.sent_at
        WHERE toUnixTimestamp64Milli(ordered_at) - toUnixTimestamp64Milli(sent_at) <= attribution_ms
    ),
    asked AS
    (
        SELECT
            instance,
            count() AS pushes,
            countIf(last_verdict = 'withhold') AS withheld,
            countIf(last_verdict = 'hold_out') AS held_out,
            countIf(last_verdict = 'hold') AS holding,
            countIf(last_verdict = 'send') AS sent,
            countIf(decision_id IN (SELECT decision_id FROM accepted)) AS accepted,
            countIf(decision_id IN (SELECT decision FROM opened)) AS opened,
            countIf(decision_id IN (SELECT decision FROM ordered)) AS ordered
        FROM decided
        GROUP BY instance
    )
SELECT
    started.day AS day,
    started.app AS app,
    started.journey AS journey,
    count() AS started,
    countIf(ended.ending = 'converted') AS converted,
    countIf(ended.ending IN ('emptied', 'erased', 'opted_out', 'evicted', 'restarted', 'exited')) AS dropped,
    sum(asked.pushes) AS candidates,
    countIf(ended.ending = '') AS open,
    sum(asked.withheld) AS withheld,
    sum(asked.held_out) AS held_out,
    sum(asked.holding) AS holding,
    sum(asked.sent) AS sent,
    sum(asked.accepted) AS accepted,
    sum(asked.opened) AS opened,
    sum(asked.ordered) AS ordered
FROM started
LEFT JOIN ended ON ended.instance = started.instance
LEFT JOIN asked ON asked.instance = started.instance
GROUP BY day, app, journey;
