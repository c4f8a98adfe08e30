"""The official Python SDK of either line, or FastMCP, as a client of one server.

    pair_python.py BRIEF

BRIEF is what `pair_node.mjs` gets, but for `sdk`: `1`, `2` or `fastmcp`. What was seen is printed as one JSON object;
nothing of it is judged here.
"""

import asyncio
import contextlib
import json
import sys
import traceback
from pathlib import Path

import mcp.types as types
from mcp import StdioServerParameters

brief = json.loads(Path(sys.argv[1]).read_text())
target, sdk = brief["target"], str(brief["sdk"])
MODE = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}[brief["mode"]]


async def elicited(*_):
    return types.ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})


async def sampled(*_):
    content = types.TextContent(type="text", text="a sampled answer")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def roots(*_):
    return types.ListRootsResult(roots=[types.Root(uri=brief["root"], name="space")])


def command():
    return StdioServerParameters(command=target["command"], args=target["args"], env=target.get("env"))


@contextlib.asynccontextmanager
async def connected():
    """A client that is ready, whose methods are those of the SDK's own."""
    callbacks = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": roots}
    if sdk == "fastmcp":
        from fastmcp import Client
        from fastmcp.client.transports import StdioTransport

        transport = target.get("url") or StdioTransport(target["command"], target["args"], env=target.get("env"))
        handlers = {"sampling_handler": sampled, "elicitation_handler": elicited, "roots": [brief["root"]]}
        async with Client(transport, mode=MODE, **handlers) as client:
            client.list_tools, client.call_tool = client.list_tools_mcp, client.call_tool_mcp
            client.get_prompt, client.read_resource = client.get_prompt_mcp, client.read_resource_mcp
            yield client
    elif sdk == "2":
        from mcp import Client

        async with Client(target.get("url") or command(), mode=MODE, **callbacks) as client:
            yield client
    else:
        from mcp import ClientSession, stdio_client
        from mcp.client.streamable_http import streamable_http_client

        transport = streamable_http_client(target["url"]) if "url" in target else stdio_client(command())
        async with transport as streams, ClientSession(*streams[:2], **callbacks) as session:
            session.protocol_version = (await session.initialize()).protocolVersion
            yield session


async def asked(client, kind, params):
    if kind == "call":
        return plain(await client.call_tool(params["name"], params.get("arguments", {})))
    if kind == "prompt":
        return plain(await client.get_prompt(params["name"], params["arguments"]))
    return plain(await client.read_resource(params["uri"]))


def plain(model):
    """A model as it was on the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def main():
    async with connected() as client:
        version = getattr(client, "protocol_version", None)
        seen = {"version": version, "tools": plain(await client.list_tools())["tools"], "answers": {}}
        for name, ask in brief["asks"].items():
            try:
                seen["answers"][name] = await asked(client, ask["kind"], ask["params"])
            except Exception as error:
                seen["answers"][name] = {"error": f"{type(error).__name__}: {error}"}
        # Before it goes: a session of line 1.x trips over whatever reaches it while it ends.
        print(json.dumps(seen), flush=True)


try:
    asyncio.run(main())
except BaseException as error:
    traceback.print_exc()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # The last line is the reason, whole.
    sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
