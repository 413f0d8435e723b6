-- Whose an installation is, what becomes of onboardings and trials, and the catalogue's prices and stock.

ALTER TABLE permission_facts
    ADD COLUMN IF NOT EXISTS claim String COMMENT 'event_id of the claim that linked or unlinked';

ALTER TABLE activity_facts
    ADD COLUMN IF NOT EXISTS attributes Map(String, String) COMMENT 'what the app backend said of the subject',
    ADD COLUMN IF NOT EXISTS name LowCardinality(String) COMMENT 'what CustomActivity was',
    ADD COLUMN IF NOT EXISTS properties Map(String, String) COMMENT 'more about CustomActivity',
    ADD COLUMN IF NOT EXISTS step LowCardinality(String) COMMENT 'step of the onboarding',
    ADD COLUMN IF NOT EXISTS trial String,
    ADD COLUMN IF NOT EXISTS ends_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when a trial ends by itself',
    ADD COLUMN IF NOT EXISTS outcome LowCardinality(String) COMMENT 'how a trial ended';

CREATE TABLE IF NOT EXISTS link_facts
(
    fact         LowCardinality(String),
    event_id     String,
    app          LowCardinality(String),
    occurred_at  DateTime64(3, 'UTC'),
    appended_at  DateTime64(3, 'UTC'),
    effective_at DateTime64(3, 'UTC'),
    source       LowCardinality(String),
    sequence     Nullable(Int64),
    partition    UInt32,
    offset       Int64,
    version      Int64,
    installation String,
    subject      String COMMENT 'who claimed it; empty: nobody, after a logout'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (installation, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS item_facts
(
    fact           LowCardinality(String),
    event_id       String,
    app            LowCardinality(String),
    occurred_at    DateTime64(3, 'UTC'),
    appended_at    DateTime64(3, 'UTC'),
    effective_at   DateTime64(3, 'UTC'),
    source         LowCardinality(String),
    sequence       Nullable(Int64),
    partition      UInt32,
    offset         Int64,
    version        Int64,
    item           String,
    price_minor    Nullable(Int64) COMMENT 'in the smallest unit of the currency',
    currency       LowCardinality(String),
    previous_minor Nullable(Int64),
    in_stock       Nullable(Bool),
    quantity       Nullable(UInt32)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (item, occurred_at, event_id);
