-- DuckDB (1.4 or newer): the views `costs` and `costs_daily` over the files themselves, of the same columns as in
-- ClickHouse.
--
--   cd logs && duckdb -init views.sql            or in Python: duckdb.execute(open("views.sql").read())
--
-- It is run by tests/shippers/test_totals.py. Guaranteed: compressed segments are read too, and a segment that stands
-- there plain and compressed counts once. Money is DECIMAL(38, 20), read from its text. Not there: what processes
-- that were killed left in .spool; `openrouter-tap report` brings that in.

CREATE OR REPLACE VIEW costs AS
SELECT DISTINCT ON (id)
    id,
    ts::TIMESTAMP AS ts,
    server,
    tool,
    session_id,
    request_id,
    fields.tier_id AS tier_id,
    fields.model AS model,
    fields.request_model AS request_model,
    fields.upstream_provider AS upstream_provider,
    fields.generation_id AS generation_id,
    fields.call_id AS call_id,
    fields.attempt AS attempt,
    fields.host AS host,
    fields.endpoint AS endpoint,
    fields.streamed AS streamed,
    fields.http_status AS http_status,
    fields.outcome AS outcome,
    fields.error.type AS error_type,
    fields.error.code AS error_code,
    fields.latency_ms AS latency_ms,
    fields.headers_ms AS headers_ms,
    fields.ttft_ms AS ttft_ms,
    fields.tokens.prompt AS tokens_prompt,
    fields.tokens.completion AS tokens_completion,
    fields.tokens.total AS tokens_total,
    fields.tokens.cached AS tokens_cached,
    fields.tokens.cache_write AS tokens_cache_write,
    fields.tokens.reasoning AS tokens_reasoning,
    fields.tokens.audio AS tokens_audio,
    fields.tokens.image AS tokens_image,
    try_cast(fields.cost.input AS DECIMAL(38, 20)) AS cost_input,
    try_cast(fields.cost.output AS DECIMAL(38, 20)) AS cost_output,
    try_cast(fields.cost.other AS DECIMAL(38, 20)) AS cost_other,
    try_cast(fields.cost.total AS DECIMAL(38, 20)) AS cost_total,
    try_cast(fields.cost.upstream AS DECIMAL(38, 20)) AS cost_upstream,
    fields.cost.is_byok AS cost_is_byok,
    fields.cost.source AS cost_source,
    fields.finish_reason AS finish_reason,
    fields.service_tier AS service_tier,
    fields.bytes_in AS bytes_in,
    fields.trace_id AS trace_id,
    fields.span_id AS span_id,
    fields.tags AS tags
FROM read_json('openrouter-costs*.jsonl*', format = 'newline_delimited', ignore_errors = true, columns = {
    id: 'VARCHAR', ts: 'VARCHAR', server: 'VARCHAR', tool: 'VARCHAR', session_id: 'VARCHAR', request_id: 'VARCHAR',
    event: 'VARCHAR', fields: 'STRUCT(
        tier_id VARCHAR, model VARCHAR, request_model VARCHAR, upstream_provider VARCHAR, generation_id VARCHAR,
        call_id VARCHAR, attempt BIGINT, host VARCHAR, endpoint VARCHAR, streamed BOOLEAN, http_status BIGINT,
        outcome VARCHAR, error STRUCT("type" VARCHAR, code VARCHAR),
        latency_ms DOUBLE, headers_ms DOUBLE, ttft_ms DOUBLE,
        tokens STRUCT(prompt BIGINT, completion BIGINT, total BIGINT, cached BIGINT, cache_write BIGINT,
            reasoning BIGINT, audio BIGINT, image BIGINT),
        cost STRUCT("input" VARCHAR, "output" VARCHAR, other VARCHAR, total VARCHAR, upstream VARCHAR,
            is_byok BOOLEAN, source VARCHAR),
        finish_reason VARCHAR, service_tier VARCHAR, bytes_in BIGINT, trace_id VARCHAR, span_id VARCHAR,
        tags MAP(VARCHAR, VARCHAR))'})
WHERE event = 'openrouter_cost';

CREATE OR REPLACE VIEW costs_daily AS
SELECT
    ts::DATE AS day,
    server,
    tier_id,
    coalesce(model, request_model) AS model,
    count(*) AS calls,
    count(*) FILTER (outcome <> 'completed') AS not_completed,
    sum(tokens_prompt)::BIGINT AS tokens_prompt,
    sum(tokens_completion)::BIGINT AS tokens_completion,
    sum(tokens_cached)::BIGINT AS tokens_cached,
    sum(tokens_reasoning)::BIGINT AS tokens_reasoning,
    sum(cost_total) AS cost,
    count(*) FILTER (cost_total IS NULL) AS unknown_cost
FROM costs
GROUP BY ALL;
