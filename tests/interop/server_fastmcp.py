"""A server on FastMCP as the Python SDK 1.x brings it, which speaks only revisions with sessions.

    server_fastmcp.py [PORT]        on http://127.0.0.1:PORT/mcp, else on stdio

What it offers is what `server_modern.mjs` offers.
"""

import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server = FastMCP("fastmcp", host="127.0.0.1", port=port, log_level="ERROR")


class Person(BaseModel):
    name: str


@server.tool()
def add(a: int, b: int) -> int:
    """The sum of two numbers"""
    return a + b


@server.tool()
async def ask_user(context: Context) -> str:
    """Asks the user for a name"""
    answer = await context.elicit("Who are you?", schema=Person)
    return f"{answer.action}: {answer.data.name if answer.action == 'accept' else 'nobody'}"


@server.tool()
async def ask_model(context: Context) -> str:
    """Asks the client's model"""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="Why?"))
    answer = await context.session.create_message([question], max_tokens=20, related_request_id=context.request_id)
    return f"the model says: {answer.content.text}"


@server.tool()
async def ask_roots(context: Context) -> str:
    """Asks for the client's roots"""
    return f"roots: {', '.join(str(root.uri) for root in (await context.session.list_roots()).roots)}"


@server.prompt()
def greeting(name: str) -> str:
    """A greeting"""
    return f"Hello, {name}!"


@server.resource("note://one", mime_type="text/plain")
def note() -> str:
    """A note"""
    return "the text of the note"


server.run("streamable-http" if port else "stdio")
