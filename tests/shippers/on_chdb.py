"""Run by a Python that has chdb: ``on_chdb.py DEPLOY FOLDER`` prints the totals; what does not run fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chdb.session import Session

OTHER = (
    '{"schema":1,"id":"1795","ts":"2026-11-24T14:53:18.123456Z","level":"INFO","logger":"x","pid":7,"thread":"t",'
    '"server":null,"tool":null,"session_id":null,"request_id":null,"event":"numbered","fields":{"seq":7}}'
)


def statements(text: str) -> list[str]:
    lines = [line.partition("--")[0] for line in text.split("\n")]
    return [part for part in "\n".join(lines).split(";") if part.strip()]


def rows(session: Session, query: str) -> list[list[object]]:
    settings = " SETTINGS output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 1"
    return json.loads(str(session.query(query + settings, "JSONCompact")))["data"]


def main(deploy: str, folder: str) -> None:
    session = Session(f"{folder}/chdb")
    for statement in statements((Path(deploy) / "clickhouse" / "schema.sql").read_text()):
        session.query(statement)
    lines = f"file('{folder}/openrouter-costs.jsonl', 'LineAsString', 'line String')"
    session.query("SYSTEM STOP MERGES")  # that doubles are not counted must not wait for one
    for limit in ("", " LIMIT 500"):
        session.query(f"INSERT INTO openrouter_tap.lines SELECT line FROM {lines}{limit}")
    session.query('INSERT INTO openrouter_tap.lines VALUES (\'{"schema":1,"id":"17\')')
    session.query("USE openrouter_tap")
    session.query("CREATE TABLE otel_logs (Timestamp DateTime64(9), Body String) ENGINE = MergeTree ORDER BY Timestamp")
    for statement in statements((Path(deploy) / "clickhouse" / "from-otel.sql").read_text()):
        session.query(statement)
    for _ in range(2):
        session.query(f"INSERT INTO otel_logs VALUES (now64(), '{OTHER}')")
    assert rows(session, "SELECT count(*), any(event), any(ts), any(fields) FROM records FINAL") == [
        ["1", "numbered", "2026-11-24 14:53:18.123456", '{"seq":7}']
    ]
    assert rows(session, "SELECT count(*) FROM torn") == [["1"]]
    for query in queries(Path(deploy) / "grafana" / "dashboard.json"):
        session.query(query)
    print(json.dumps([rows(session, query) for query in statements((Path(deploy) / "totals.sql").read_text())]))


def queries(dashboard: Path) -> list[str]:
    """Each panel's query, with Grafana's macros for all time and all models."""
    found = json.loads(dashboard.read_text()) if dashboard.exists() else {"panels": []}
    texts = [target["rawSql"] for panel in found["panels"] for target in panel.get("targets", [])]
    return [text.replace("$__timeFilter(ts)", "1").replace("$__dateFilter(day)", "1") for text in texts]


main(*sys.argv[1:])
