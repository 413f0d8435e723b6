-- Facts as columns, one table for each family. A row is written at least once; rows of one fact have the
-- same sort key, and of those the one with the highest version (the lowest offset) stays. Read them with FINAL.

CREATE TABLE IF NOT EXISTS permission_facts
(
    fact         LowCardinality(String),
    event_id     String,
    app          LowCardinality(String),
    occurred_at  DateTime64(3, 'UTC') COMMENT 'by the clock of whoever saw it',
    appended_at  DateTime64(3, 'UTC') COMMENT 'first append, by the clock of the broker',
    effective_at DateTime64(3, 'UTC') COMMENT 'when it counts from: the earlier of the two',
    source       LowCardinality(String) COMMENT 'origin, or origin:detail; simulated facts say so',
    sequence     Nullable(Int64),
    partition    UInt32,
    offset       Int64,
    version      Int64,
    subject      String,
    installation String,
    platform     LowCardinality(String),
    time_zone    LowCardinality(String),
    country      LowCardinality(String),
    prompt       LowCardinality(String) COMMENT 'primer or os',
    context      LowCardinality(String) COMMENT 'where in the app the prompt was shown',
    answer       LowCardinality(String),
    copy_version LowCardinality(String),
    permission   LowCardinality(String) COMMENT 'what the fact says of permission, empty if nothing',
    cause        LowCardinality(String),
    register     LowCardinality(String) COMMENT 'the clock that speaks: device_counted, device, server or import',
    topic        LowCardinality(String),
    max_pushes   Nullable(UInt32),
    window       LowCardinality(String),
    start_minute Nullable(UInt16),
    end_minute   Nullable(UInt16),
    reason       LowCardinality(String),
    until        Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (subject, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS token_facts
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
    subject      String,
    installation String,
    provider     LowCardinality(String),
    token_id     String COMMENT 'a hash of the delivery address, which is never stored here',
    reason       LowCardinality(String)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (subject, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS activity_facts
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
    subject      String,
    installation String,
    item         String,
    category     LowCardinality(String),
    change       LowCardinality(String),
    quantity     Nullable(UInt32),
    order_id     String,
    items        Array(String),
    amount_minor Nullable(Int64),
    currency     LowCardinality(String),
    push_id      String COMMENT 'the push that was opened'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (subject, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS decision_facts
(
    fact             LowCardinality(String) COMMENT 'JourneyStarted, JourneyEnded or PushDecided',
    event_id         String,
    app              LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC'),
    appended_at      DateTime64(3, 'UTC'),
    effective_at     DateTime64(3, 'UTC'),
    source           LowCardinality(String),
    sequence         Nullable(Int64),
    partition        UInt32,
    offset           Int64,
    version          Int64,
    subject          String,
    journey          LowCardinality(String),
    journey_version  LowCardinality(String),
    policy_version   LowCardinality(String),
    instance         String,
    trigger_event_id String,
    holdout          Bool,
    outcome          LowCardinality(String),
    decision_id      String,
    revision         UInt32,
    candidate_at     Nullable(DateTime64(3, 'UTC')),
    step             LowCardinality(String),
    category         LowCardinality(String),
    topic            LowCardinality(String),
    verdict          LowCardinality(String) COMMENT 'send, withhold, hold_out; or hold, which is decided again',
    reason           LowCardinality(String),
    hold_until       Nullable(DateTime64(3, 'UTC')),
    send_before      Nullable(DateTime64(3, 'UTC')),
    attribution_ms   Int64,
    installations    Array(String),
    items            Array(String),
    checks           Nested(name LowCardinality(String), passed Bool, detail String),
    permissions_next Nullable(Int64),
    tokens_next      Nullable(Int64)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (subject, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS delivery_facts
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
    subject      String,
    push_id      String,
    decision_id  String,
    installation String,
    attempt      UInt32,
    provider     LowCardinality(String),
    error_class  LowCardinality(String),
    error        String,
    reason       LowCardinality(String)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (subject, occurred_at, event_id);

CREATE TABLE IF NOT EXISTS dead_letter_facts
(
    fact               LowCardinality(String),
    event_id           String,
    app                LowCardinality(String),
    occurred_at        DateTime64(3, 'UTC'),
    appended_at        DateTime64(3, 'UTC'),
    effective_at       DateTime64(3, 'UTC'),
    source             LowCardinality(String),
    sequence           Nullable(Int64),
    partition          UInt32,
    offset             Int64,
    version            Int64,
    topic              LowCardinality(String) COMMENT 'where the record stood',
    source_partition   UInt32,
    source_offset      Int64,
    source_appended_at DateTime64(3, 'UTC'),
    reason             LowCardinality(String),
    detail             String,
    value_bytes        UInt32 COMMENT 'how many bytes optin.dead-letters keeps of it'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (topic, source_partition, source_offset, event_id);
