-- Receipts: what phones and browsers say of the pushes that providers accepted. Joined by push_id.

-- What became of accepted pushes, by day, app, provider and journey. A provider accepts what it will try to deliver;
-- `delivered` counts what an installation said arrived, so it is a lower bound where apps do not report all.
-- `median_delivery_s`: from the provider's acceptance to the arrival, by the device's clock.
CREATE OR REPLACE VIEW push_receipts AS
WITH
    said AS
    (
        SELECT
            push_id,
            minIf(occurred_at, fact = 'PushDelivered') AS delivered_at,
            countIf(fact = 'PushDelivered') > 0 AS was_delivered,
            countIf(fact = 'PushOpened') > 0 AS was_opened,
            countIf(fact = 'PushDismissed') > 0 AS was_dismissed
        FROM activity_facts FINAL
        WHERE fact IN ('PushDelivered', 'PushOpened', 'PushDismissed')
        GROUP BY push_id
    ),
    journeys AS
    (
        SELECT DISTINCT decision_id, journey
        FROM decision_facts FINAL
        WHERE fact = 'PushDecided' AND verdict = 'send'
    )
SELECT
    toDate(pushes.occurred_at, 'UTC') AS day,
    pushes.app AS app,
    pushes.provider AS provider,
    journeys.journey AS journey,
    count() AS accepted,
    -- Whoever opened or dismissed a push had got it, whether that was reported or not.
    countIf(said.was_delivered OR said.was_opened OR said.was_dismissed) AS delivered,
    countIf(said.was_opened) AS opened,
    countIf(said.was_dismissed AND NOT said.was_opened) AS dismissed,
    quantileExactInclusiveIf(0.5)(dateDiff('millisecond', pushes.occurred_at, said.delivered_at) / 1000, said.was_delivered)
        AS median_delivery_s
FROM (SELECT * FROM delivery_facts FINAL WHERE fact = 'PushAccepted') AS pushes
LEFT JOIN said ON said.push_id = pushes.push_id
LEFT JOIN journeys ON journeys.decision_id = pushes.decision_id
GROUP BY day, app, provider, journey;
