"""Says which tool a task is for, and tracks which was used: an MCP server on stdio, or over HTTP with --port."""

import argparse
import logging
from uuid import uuid4

import msgspec
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse

import cipherlog_core
from cipherlog_core import bind, routing_event

DOMAINS = {"code": "ask", "story": "ask_streaming"}
DEFAULT = "general", "ask"

logger = cipherlog_core.start("routing-metadata-server")
root = logging.getLogger()
root.setLevel(max(root.level, logging.INFO))  # at DEBUG libraries log what they carry: the tasks, too
server = MCPServer("routing-metadata")


@server.tool()
def validate_routing(
    task: str, selected_tool: str, session_id: str | None = None, request_id: str | None = None
) -> dict[str, object]:
    """Whether the selected tool is the one recommended for the task."""
    with bind(session_id=session_id, request_id=request_id or uuid4().hex):
        domain, recommended = next((item for item in DOMAINS.items() if item[0] in task.lower()), DEFAULT)
        is_compliant = selected_tool == recommended
        routing_event(
            tool="validate_routing",
            selected_tool=selected_tool,
            recommended_tool=recommended,
            detected_domain=domain,
            is_compliant=is_compliant,
            status="validated",
        )
        return {"recommended_tool": recommended, "detected_domain": domain, "is_compliant": is_compliant}


@server.tool()
def track_routing(
    selected_tool: str, status: str, session_id: str | None = None, request_id: str | None = None
) -> bool:
    """Record how the use of a tool ended; True when the record is safe."""
    with bind(session_id=session_id, request_id=request_id or uuid4().hex):
        logger.event("tracked", tool="track_routing", selected_tool=selected_tool)
        return routing_event(tool="track_routing", selected_tool=selected_tool, status=status)


@server.custom_route("/stats", ["GET"])
async def stats(_request: Request) -> JSONResponse:
    return JSONResponse(msgspec.to_builtins(cipherlog_core.stats()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="serve HTTP at 127.0.0.1:PORT/mcp instead of stdio")
    if port := parser.parse_args().port:
        uvicorn.run(server.streamable_http_app(), port=port, log_config=None)
    else:
        server.run()
