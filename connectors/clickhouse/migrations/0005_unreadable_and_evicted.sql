-- Who saw to records that could not be read, and what a full row of the journeys role let go.

ALTER TABLE permission_facts
    ADD COLUMN IF NOT EXISTS letter String COMMENT 'UnreadableFactSettled: the dead letter of its last record',
    ADD COLUMN IF NOT EXISTS first_offset Nullable(Int64) COMMENT 'of the settled records on optin.permissions',
    ADD COLUMN IF NOT EXISTS last_offset Nullable(Int64),
    ADD COLUMN IF NOT EXISTS outcome LowCardinality(String) COMMENT 'replayed or dismissed';

ALTER TABLE decision_facts
    ADD COLUMN IF NOT EXISTS part LowCardinality(String) COMMENT 'StateEvicted: token, contact, item, instance or candidate',
    ADD COLUMN IF NOT EXISTS count UInt32 COMMENT 'how many of them gave way',
    ADD COLUMN IF NOT EXISTS cause String COMMENT 'event_id of the fact, or id of the decision, that needed the room';
