-- ClickHouse (23.8 or newer): tables for the lines of all logs, and the views `costs` and `costs_daily`.
--
--   clickhouse-client --multiquery < schema.sql
--
-- A shipper inserts into `lines`, one column `line` with a log's line as it stands in the file: so money stays the
-- text that it was, and no shipper needs to know the record. It is run by tests/shippers/test_totals.py, on
-- ClickHouse's engine.
--
-- Guaranteed: a line that comes twice counts once, in the views (the tables merge doubles by the record's id, later;
-- the views merge when they are read). Money is Decimal(38, 20), so sums are exact. What is unknown is NULL and in no
-- sum. Lines that are no records are kept in `torn`.

CREATE DATABASE IF NOT EXISTS openrouter_tap;

-- Holds nothing: each insert is handed to the views below, and is acknowledged when they have it.
CREATE TABLE IF NOT EXISTS openrouter_tap.lines (line String) ENGINE = Null;

CREATE TABLE IF NOT EXISTS openrouter_tap.records
(
    id String,
    ts DateTime64(6, 'UTC'),
    level LowCardinality(String),
    logger LowCardinality(String),
    pid UInt32,
    thread LowCardinality(String),
    server LowCardinality(Nullable(String)),
    tool LowCardinality(Nullable(String)),
    session_id Nullable(String),
    request_id Nullable(String),
    event LowCardinality(String),
    fields String  -- JSON
)
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY id;  -- ids sort by time

CREATE MATERIALIZED VIEW IF NOT EXISTS openrouter_tap.records_in TO openrouter_tap.records AS
SELECT
    JSONExtractString(line, 'id') AS id,
    parseDateTime64BestEffort(JSONExtractString(line, 'ts'), 6, 'UTC') AS ts,
    JSONExtractString(line, 'level') AS level,
    JSONExtractString(line, 'logger') AS logger,
    JSONExtract(line, 'pid', 'UInt32') AS pid,
    JSONExtractString(line, 'thread') AS thread,
    JSONExtract(line, 'server', 'Nullable(String)') AS server,
    JSONExtract(line, 'tool', 'Nullable(String)') AS tool,
    JSONExtract(line, 'session_id', 'Nullable(String)') AS session_id,
    JSONExtract(line, 'request_id', 'Nullable(String)') AS request_id,
    JSONExtractString(line, 'event') AS event,
    JSONExtractRaw(line, 'fields') AS fields
FROM openrouter_tap.lines WHERE JSONExtractString(line, 'id') != '' AND JSONExtractString(line, 'event') != 'openrouter_cost';

CREATE TABLE IF NOT EXISTS openrouter_tap.torn (at DateTime DEFAULT now(), line String) ENGINE = MergeTree ORDER BY at;

CREATE MATERIALIZED VIEW IF NOT EXISTS openrouter_tap.torn_in TO openrouter_tap.torn AS
SELECT line FROM openrouter_tap.lines WHERE JSONExtractString(line, 'id') = '';

CREATE TABLE IF NOT EXISTS openrouter_tap.calls
(
    id String,
    ts DateTime64(6, 'UTC'),
    server LowCardinality(Nullable(String)),
    tool LowCardinality(Nullable(String)),
    session_id Nullable(String),
    request_id Nullable(String),
    tier_id LowCardinality(Nullable(String)),
    model LowCardinality(Nullable(String)),
    request_model LowCardinality(Nullable(String)),
    upstream_provider LowCardinality(Nullable(String)),
    generation_id Nullable(String),
    call_id Nullable(String),
    attempt Nullable(Int64),
    host LowCardinality(Nullable(String)),
    endpoint LowCardinality(String),
    streamed Nullable(Bool),
    http_status Nullable(Int64),
    outcome LowCardinality(String),
    error_type LowCardinality(Nullable(String)),
    error_code LowCardinality(Nullable(String)),
    latency_ms Nullable(Float64),
    headers_ms Nullable(Float64),
    ttft_ms Nullable(Float64),
    tokens_prompt Nullable(Int64),
    tokens_completion Nullable(Int64),
    tokens_total Nullable(Int64),
    tokens_cached Nullable(Int64),
    tokens_cache_write Nullable(Int64),
    tokens_reasoning Nullable(Int64),
    tokens_audio Nullable(Int64),
    tokens_image Nullable(Int64),
    cost_input Nullable(Decimal(38, 20)),
    cost_output Nullable(Decimal(38, 20)),
    cost_other Nullable(Decimal(38, 20)),
    cost_total Nullable(Decimal(38, 20)),
    cost_upstream Nullable(Decimal(38, 20)),
    cost_is_byok Nullable(Bool),
    cost_source LowCardinality(String),
    finish_reason LowCardinality(Nullable(String)),
    service_tier LowCardinality(Nullable(String)),
    bytes_in Nullable(Int64),
    trace_id Nullable(String),
    span_id Nullable(String),
    tags Map(String, String)
)
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY id;

CREATE MATERIALIZED VIEW IF NOT EXISTS openrouter_tap.calls_in TO openrouter_tap.calls AS
SELECT
    JSONExtractString(line, 'id') AS id,
    parseDateTime64BestEffort(JSONExtractString(line, 'ts'), 6, 'UTC') AS ts,
    JSONExtract(line, 'server', 'Nullable(String)') AS server,
    JSONExtract(line, 'tool', 'Nullable(String)') AS tool,
    JSONExtract(line, 'session_id', 'Nullable(String)') AS session_id,
    JSONExtract(line, 'request_id', 'Nullable(String)') AS request_id,
    JSONExtract(line, 'fields', 'tier_id', 'Nullable(String)') AS tier_id,
    JSONExtract(line, 'fields', 'model', 'Nullable(String)') AS model,
    JSONExtract(line, 'fields', 'request_model', 'Nullable(String)') AS request_model,
    JSONExtract(line, 'fields', 'upstream_provider', 'Nullable(String)') AS upstream_provider,
    JSONExtract(line, 'fields', 'generation_id', 'Nullable(String)') AS generation_id,
    JSONExtract(line, 'fields', 'call_id', 'Nullable(String)') AS call_id,
    JSONExtract(line, 'fields', 'attempt', 'Nullable(Int64)') AS attempt,
    JSONExtract(line, 'fields', 'host', 'Nullable(String)') AS host,
    JSONExtract(line, 'fields', 'endpoint', 'String') AS endpoint,
    JSONExtract(line, 'fields', 'streamed', 'Nullable(Bool)') AS streamed,
    JSONExtract(line, 'fields', 'http_status', 'Nullable(Int64)') AS http_status,
    JSONExtract(line, 'fields', 'outcome', 'String') AS outcome,
    JSONExtract(line, 'fields', 'error', 'type', 'Nullable(String)') AS error_type,
    JSONExtract(line, 'fields', 'error', 'code', 'Nullable(String)') AS error_code,
    JSONExtract(line, 'fields', 'latency_ms', 'Nullable(Float64)') AS latency_ms,
    JSONExtract(line, 'fields', 'headers_ms', 'Nullable(Float64)') AS headers_ms,
    JSONExtract(line, 'fields', 'ttft_ms', 'Nullable(Float64)') AS ttft_ms,
    JSONExtract(line, 'fields', 'tokens', 'prompt', 'Nullable(Int64)') AS tokens_prompt,
    JSONExtract(line, 'fields', 'tokens', 'completion', 'Nullable(Int64)') AS tokens_completion,
    JSONExtract(line, 'fields', 'tokens', 'total', 'Nullable(Int64)') AS tokens_total,
    JSONExtract(line, 'fields', 'tokens', 'cached', 'Nullable(Int64)') AS tokens_cached,
    JSONExtract(line, 'fields', 'tokens', 'cache_write', 'Nullable(Int64)') AS tokens_cache_write,
    JSONExtract(line, 'fields', 'tokens', 'reasoning', 'Nullable(Int64)') AS tokens_reasoning,
    JSONExtract(line, 'fields', 'tokens', 'audio', 'Nullable(Int64)') AS tokens_audio,
    JSONExtract(line, 'fields', 'tokens', 'image', 'Nullable(Int64)') AS tokens_image,
    toDecimal128OrNull(JSONExtractRaw(line, 'fields', 'cost', 'input'), 20) AS cost_input,
    toDecimal128OrNull(JSONExtractRaw(line, 'fields', 'cost', 'output'), 20) AS cost_output,
    toDecimal128OrNull(JSONExtractRaw(line, 'fields', 'cost', 'other'), 20) AS cost_other,
    toDecimal128OrNull(JSONExtractRaw(line, 'fields', 'cost', 'total'), 20) AS cost_total,
    toDecimal128OrNull(JSONExtractRaw(line, 'fields', 'cost', 'upstream'), 20) AS cost_upstream,
    JSONExtract(line, 'fields', 'cost', 'is_byok', 'Nullable(Bool)') AS cost_is_byok,
    JSONExtract(line, 'fields', 'cost', 'source', 'String') AS cost_source,
    JSONExtract(line, 'fields', 'finish_reason', 'Nullable(String)') AS finish_reason,
    JSONExtract(line, 'fields', 'service_tier', 'Nullable(String)') AS service_tier,
    JSONExtract(line, 'fields', 'bytes_in', 'Nullable(Int64)') AS bytes_in,
    JSONExtract(line, 'fields', 'trace_id', 'Nullable(String)') AS trace_id,
    JSONExtract(line, 'fields', 'span_id', 'Nullable(String)') AS span_id,
    JSONExtract(line, 'fields', 'tags', 'Map(String, String)') AS tags
FROM openrouter_tap.lines WHERE JSONExtractString(line, 'event') = 'openrouter_cost';

-- A row for each HTTP exchange, once.
CREATE VIEW IF NOT EXISTS openrouter_tap.costs AS SELECT * FROM openrouter_tap.calls FINAL;

-- A row for each day (UTC), server, tier and model; `cost` is what is known of it, `unknown_cost` the calls that are
-- not in it.
CREATE VIEW IF NOT EXISTS openrouter_tap.costs_daily AS
SELECT
    toDate(ts) AS day,
    server,
    tier_id,
    coalesce(c.model, c.request_model) AS model,
    count(*) AS calls,
    sum(CASE WHEN outcome = 'completed' THEN 0 ELSE 1 END) AS not_completed,
    sum(tokens_prompt) AS tokens_prompt,
    sum(tokens_completion) AS tokens_completion,
    sum(tokens_cached) AS tokens_cached,
    sum(tokens_reasoning) AS tokens_reasoning,
    sum(cost_total) AS cost,
    sum(CASE WHEN cost_total IS NULL THEN 1 ELSE 0 END) AS unknown_cost
FROM openrouter_tap.costs AS c
GROUP BY day, server, tier_id, model;
