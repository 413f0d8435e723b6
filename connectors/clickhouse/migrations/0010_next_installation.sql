-- A marketing push whose address was refused goes to the person's next installation, by the same decision.

ALTER TABLE delivery_facts ADD COLUMN IF NOT EXISTS next_installation String DEFAULT '';

-- What became of the pushes that were decided on a day: one for each `send` and chosen installation, and
-- each ends in exactly one of accepted, rejected, withheld_late and unknown. Where an address was refused and the
-- decision went to another installation, that one was chosen, too: `passed_on` of the pushes are such ones.
CREATE OR REPLACE VIEW push_outcomes AS
WITH
    sends AS
    (
        SELECT decision_id, app, journey, toDate(occurred_at, 'UTC') AS day, length(installations) AS chosen
        FROM decision_facts FINAL
        WHERE verdict = 'send'
    ),
    outcomes AS
    (
        SELECT decision_id,
            uniqExactIf(push_id, fact = 'PushAccepted') AS taken,
            uniqExactIf(push_id, fact = 'PushRejected') AS refused,
            uniqExactIf(push_id, fact = 'PushWithheldLate') AS stopped,
            uniqExactIf(push_id, fact = 'PushOutcomeUnknown') AS unclear,
            uniqExactIf(push_id, next_installation != '') AS passed,
            uniqExactIf(push_id, push_id IN (SELECT push_id FROM activity_facts WHERE fact = 'PushOpened')) AS tapped
        FROM delivery_facts
        GROUP BY decision_id
    )
SELECT
    sends.day AS day,
    sends.app AS app,
    sends.journey AS journey,
    sum(sends.chosen + outcomes.passed) AS pushes,
    sum(outcomes.taken) AS accepted,
    sum(outcomes.refused) AS rejected,
    sum(outcomes.stopped) AS withheld_late,
    sum(outcomes.unclear) AS unknown,
    toInt64(pushes) - accepted - rejected - withheld_late - unknown AS pending,
    sum(outcomes.tapped) AS opened,
    sum(outcomes.passed) AS passed_on
FROM sends
LEFT JOIN outcomes ON outcomes.decision_id = sends.decision_id
GROUP BY day, app, journey;
