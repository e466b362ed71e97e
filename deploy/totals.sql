-- Five totals, word for word the same on ClickHouse (USE openrouter_tap) and DuckDB, over the views `costs` and `costs_daily`.
-- It is run by tests/shippers/test_totals.py.

-- what each model cost
SELECT model, sum(calls) AS calls, sum(cost) AS cost, sum(unknown_cost) AS unknown_cost
FROM costs_daily GROUP BY model ORDER BY model;

-- what each day cost
SELECT day, sum(calls) AS calls, sum(cost) AS cost, sum(unknown_cost) AS unknown_cost
FROM costs_daily GROUP BY day ORDER BY day;

-- tokens by the provider that ran the model
SELECT upstream_provider, count(*) AS calls, sum(tokens_prompt) AS prompt, sum(tokens_completion) AS completion,
    sum(tokens_cached) AS cached
FROM costs GROUP BY upstream_provider ORDER BY upstream_provider;

-- how calls ended, and what those cost
SELECT outcome, error_type, count(*) AS calls, sum(cost_total) AS cost
FROM costs GROUP BY outcome, error_type ORDER BY outcome, error_type NULLS FIRST;

-- tiers, and the time that calls took
SELECT tier_id, count(*) AS calls, sum(cost_total) AS cost, min(latency_ms) AS fastest, max(latency_ms) AS slowest
FROM costs GROUP BY tier_id ORDER BY tier_id NULLS FIRST;
