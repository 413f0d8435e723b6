-- What operators did about dead letters, beside the letters themselves.

ALTER TABLE dead_letter_facts
    ADD COLUMN IF NOT EXISTS letter String COMMENT 'event_id of the letter that was settled',
    ADD COLUMN IF NOT EXISTS outcome LowCardinality(String) COMMENT 'replayed or dismissed';

-- Dead letters by topic, reason and what became of them.
CREATE OR REPLACE VIEW dead_letters AS
WITH settled AS
    (
        SELECT letter, argMax(outcome, occurred_at) AS outcome
        FROM dead_letter_facts FINAL
        WHERE fact = 'DeadLetterSettled'
        GROUP BY letter
    )
SELECT
    toDate(letters.occurred_at, 'UTC') AS day,
    letters.topic AS topic,
    letters.reason AS reason,
    if(settled.outcome = '', 'open', settled.outcome) AS state,
    count() AS letters
FROM (SELECT * FROM dead_letter_facts FINAL WHERE fact = 'RecordDeadLettered') AS letters
LEFT JOIN settled ON settled.letter = letters.event_id
GROUP BY day, topic, reason, state;
