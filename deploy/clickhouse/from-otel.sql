-- From the table that the OpenTelemetry Collector's exporter makes to `lines` of schema.sql; run it when otel_logs
-- exists. It is run by tests/shippers/test_totals.py, with a table of that shape.

CREATE MATERIALIZED VIEW IF NOT EXISTS openrouter_tap.otel_in TO openrouter_tap.lines AS
SELECT Body AS line FROM openrouter_tap.otel_logs;
