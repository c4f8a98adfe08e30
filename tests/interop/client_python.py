"""The official Python SDK as a client of switchbox; works with its lines 1.x and 2.x (legacy handshake).

    client_python.py BRIEF

BRIEF is a JSON file: `front` (`{"url": …}` or `{"command": …, "args": […]}`), `servers` (the same entries that
switchbox was given), `space` (a folder for files), `page` (the URL of a local page). Each server is first listed
directly, by this same client; then everything is claimed through `front`. One line for each claim.
"""

import asyncio
import contextlib
import json
import sys
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import mcp.types as types
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

LINE = int(version("mcp").split(".")[0])
PATIENCE = 15
# Lists: the SDK's method, and the capability that promises it.
LISTS = {
    "tools": ("list_tools", "tools"),
    "prompts": ("list_prompts", "prompts"),
    "resources": ("list_resources", "resources"),
    "resourceTemplates": ("list_resource_templates", "resources"),
}


class Client:
    """One session, what its server sent unasked, and what it answers when it is asked."""

    def __init__(self, space):
        self.space, self.logs, self.notes, self.asked = space, [], [], []

    @contextlib.asynccontextmanager
    async def connected(self, server):
        if "url" in server:
            transport = streamable_http_client(server["url"])
        else:
            command = StdioServerParameters(command=server["command"], args=server["args"], env=server.get("env"))
            transport = stdio_client(command, errlog=open("/dev/null", "w"))
        async with transport as streams:
            callbacks = {
                "sampling_callback": self.sampled,
                "elicitation_callback": self.elicited,
                "list_roots_callback": self.roots,
                "logging_callback": self.logged,
                "message_handler": self.noted,
            }
            patience = timedelta(seconds=60) if LINE == 1 else 60
            async with ClientSession(*streams[:2], read_timeout_seconds=patience, **callbacks) as session:
                self.session = session
                self.greeting = plain(await session.initialize())
                yield self

    async def sampled(self, _, params):
        self.asked.append(("sampling", plain(params)))
        content = types.TextContent(type="text", text="a sampled answer")
        return types.CreateMessageResult(role="assistant", content=content, model="no-model")

    async def elicited(self, _, params):
        self.asked.append(("elicitation", plain(params)))
        return types.ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})

    async def roots(self, _):
        self.asked.append(("roots", None))
        return types.ListRootsResult(roots=[types.Root(uri=Path(self.space).as_uri(), name="space")])

    async def logged(self, params):
        self.logs.append(plain(params))

    async def noted(self, message):
        if not isinstance(message, Exception) and hasattr(message, "model_dump"):
            self.notes.append(plain(message))

    async def listed(self, kind):
        """Every entry of a list, page by page."""
        call = getattr(self.session, LISTS[kind][0])
        entries, cursor = [], None
        while True:
            page = plain(await call(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None))
            entries += page[kind]
            cursor = page.get("nextCursor")
            if not cursor:
                return entries

    async def call(self, name, arguments=None, **options):
        return plain(await self.session.call_tool(name, arguments or {}, **options))

    async def text(self, name, arguments=None):
        """The texts of a tool's answer; an error of the tool is an exception here."""
        answer = await self.call(name, arguments)
        text = "\n".join(block.get("text", "") for block in answer["content"])
        if answer.get("isError"):
            raise RuntimeError(text)
        return text

    async def until(self, condition, timeout=PATIENCE):
        """Whether `condition` comes true in time."""
        deadline = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return result


def plain(model):
    """A model as it was on the wire: only members that were sent, under their own names."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def stable_tools(client):
    """Tools once they no longer change: some servers register a few after `initialized`."""
    before = None
    while (tools := await client.listed("tools")) != before:
        before = tools
        await asyncio.sleep(0.7)
    return tools


async def directly(server, space):
    """What a server lists when it is asked without a gateway."""
    client = Client(space)
    async with client.connected(server):
        capabilities = client.greeting["capabilities"]
        lists = {"tools": await stable_tools(client)}
        for kind in ("prompts", "resources", "resourceTemplates"):
            lists[kind] = []
            if LISTS[kind][1] in capabilities:
                with contextlib.suppress(Exception):
                    lists[kind] = await client.listed(kind)
        return lists


class Claims:
    """Counts and prints."""

    def __init__(self):
        self.passed = self.failed = 0

    @contextlib.asynccontextmanager
    async def claim(self, name):
        """A claim that holds unless its body raises."""
        try:
            yield
        except Exception as error:  # whatever goes wrong is this claim's outcome
            self.failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:600]}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {name}", flush=True)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {json.dumps(found)[:280]}, expected {json.dumps(expected)[:280]}")


def holds(condition, otherwise):
    if not condition:
        raise AssertionError(otherwise)


async def claim_lists(claims, client, direct):
    """Every entry that a server lists directly is listed through the gateway, and is the same."""
    wanted = {f"{server}__{tool['name']}" for server, lists in direct.items() for tool in lists["tools"]}
    deadline = time.monotonic() + PATIENCE
    tools = {}
    while not wanted <= tools.keys() and time.monotonic() < deadline:
        tools = {tool["name"]: tool for tool in await client.listed("tools")}
        await asyncio.sleep(0.1)
    for server, lists in direct.items():
        async with claims.claim(f"tools of {server}: all {len(lists['tools'])}, identical"):
            for tool in lists["tools"]:
                shown = tools.get(f"{server}__{tool['name']}")
                holds(shown, f"{tool['name']} is not listed")
                equal({**shown, "name": tool["name"]}, tool)
    async with claims.claim("tools: no more than the servers have"):
        equal(sorted(tools.keys() - wanted), [])
    prompts = {prompt["name"]: prompt for prompt in await client.listed("prompts")}
    async with claims.claim("prompts: all, identical"):
        for server, lists in direct.items():
            for prompt in lists["prompts"]:
                equal({**prompts.get(f"{server}__{prompt['name']}", {}), "name": prompt["name"]}, prompt)
    for kind, key in (("resources", "uri"), ("resourceTemplates", "uriTemplate")):
        shown = {entry[key]: entry for entry in await client.listed(kind)}
        async with claims.claim(f"{kind}: all, under their own URIs"):
            for lists in direct.values():
                for entry in lists[kind]:
                    equal(shown.get(entry[key]), entry)


async def claim_calls(claims, client, brief):
    """A call of each server, with what its own documentation promises."""
    space, page = Path(brief["space"]), brief["page"]
    note, repository = str(space / f"note-{time.time_ns()}.txt"), str(space / "repository")
    entity = {"name": f"n{time.time_ns()}", "entityType": "note", "observations": ["seen"]}
    thought = {"thought": "one", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    hour = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    calls = [
        ("everything__echo", {"message": "hello"}, "Echo: hello"),
        ("everything__get-sum", {"a": 2, "b": 3}, "5"),
        ("everything__get-structured-content", {"location": "New York"}, "temperature"),
        ("filesystem__write_file", {"path": note, "content": "kept"}, "Successfully wrote"),
        ("filesystem__read_text_file", {"path": note}, "kept"),
        ("filesystem__list_directory", {"path": str(space)}, "note-"),
        ("memory__create_entities", {"entities": [entity]}, entity["name"]),
        ("memory__open_nodes", {"names": [entity["name"]]}, "seen"),
        ("thinking__sequentialthinking", thought, "thoughtNumber"),
        ("time__get_current_time", {"timezone": "UTC"}, "datetime"),
        ("time__convert_time", hour, "21:00"),
        ("fetch__fetch", {"url": page}, "A local page"),
        ("git__git_log", {"repo_path": repository}, "first commit"),
        ("git__git_status", {"repo_path": repository}, "branch"),
    ]
    for name, arguments, expected in calls:
        async with claims.claim(f"call {name}"):
            text = await client.text(name, arguments)
            holds(expected in text, f"no {expected!r} in {text[:280]!r}")
    async with claims.claim("a tool's own error comes as its own"):
        answer = await client.call("filesystem__read_text_file", {"path": "/nowhere/at/all"})
        equal(answer.get("isError"), True)
    async with claims.claim("a tool that nobody has is refused"):
        try:
            answer = await client.call("everything__no-such-tool")
        except Exception as error:
            holds("no-such-tool" in str(error), f"the error does not name it: {error}")
        else:
            equal(answer.get("isError"), True)


async def claim_prompts_and_resources(claims, client):
    session = client.session
    async with claims.claim("prompt without arguments"):
        got = plain(await session.get_prompt("everything__simple-prompt"))
        holds(got["messages"], "no messages")
    async with claims.claim("prompt with arguments"):
        got = plain(await session.get_prompt("everything__args-prompt", {"city": "Oslo", "state": "none"}))
        holds("Oslo" in json.dumps(got), f"{got}")
    async with claims.claim("prompt with an embedded resource"):
        given = {"resourceType": "Text", "resourceId": "1"}
        got = plain(await session.get_prompt("everything__resource-prompt", given))
        holds("demo://resource/dynamic/text/1" in json.dumps(got), f"{got}")
    reads = [
        ("static resource", "demo://resource/static/document/features.md", "text"),
        ("text resource of a template", "demo://resource/dynamic/text/7", "text"),
        ("binary resource of a template", "demo://resource/dynamic/blob/7", "blob"),
        ("resource of another server", "memory://knowledge-graph", "text"),
    ]
    for name, uri, member in reads:
        async with claims.claim(f"read a {name}"):
            contents = plain(await session.read_resource(uri))["contents"]
            equal(contents[0]["uri"], uri)
            holds(contents[0][member], f"{contents}")
    async with claims.claim("completion of a prompt's argument"):
        ref = types.PromptReference(type="ref/prompt", name="everything__completable-prompt")
        got = plain(await session.complete(ref, {"name": "department", "value": "E"}))
        equal(got["completion"]["values"], ["Engineering"])
    async with claims.claim("completion of a template's variable"):
        template = "demo://resource/dynamic/text/{resourceId}"
        ref = types.ResourceTemplateReference(type="ref/resource", uri=template)
        got = plain(await session.complete(ref, {"name": "resourceId", "value": "12"}))
        equal(got["completion"]["values"], ["12"])


async def toggled(client, tool):
    """Turns a periodic sender of server-everything on, in whichever state it is."""
    if "Stopped" in await client.text(tool):
        await client.text(tool)


async def claim_subscriptions_and_logs(claims, client):
    session, uri = client.session, "demo://resource/dynamic/text/3"
    async with claims.claim("log messages of a server reach the client"):
        await session.set_logging_level("debug")
        await toggled(client, "everything__toggle-simulated-logging")
        holds(await client.until(lambda: client.logs), "no log message")
        await client.text("everything__toggle-simulated-logging")
    async with claims.claim("an update of a subscribed resource reaches the client"):
        await session.subscribe_resource(uri)
        await toggled(client, "everything__toggle-subscriber-updates")
        updated = lambda: [n for n in client.notes if n.get("method") == "notifications/resources/updated"]
        found = await client.until(updated)
        holds(found, "no notification")
        equal(found[0]["params"]["uri"], uri)
        await client.text("everything__toggle-subscriber-updates")
    async with claims.claim("after unsubscribing nothing more comes"):
        await session.unsubscribe_resource(uri)
        before = len(updated())
        await toggled(client, "everything__toggle-subscriber-updates")
        await asyncio.sleep(1)
        equal(len(updated()), before)
        await client.text("everything__toggle-subscriber-updates")


async def claim_questions(claims, client):
    """What servers ask of the client."""
    async with claims.claim("sampling"):
        text = await client.text("everything__trigger-sampling-request", {"prompt": "why", "maxTokens": 20})
        holds("a sampled answer" in text, text)
        holds("why" in json.dumps([params for kind, params in client.asked if kind == "sampling"]), "not asked")
    async with claims.claim("elicitation"):
        text = await client.text("everything__trigger-elicitation-request")
        holds("Ada" in text, text)
    async with claims.claim("roots"):
        text = await client.text("everything__get-roots-list")
        holds(Path(client.space).as_uri() in text, text)


async def claim_progress_and_cancellation(claims, client):
    session, slow = client.session, "everything__trigger-long-running-operation"
    async with claims.claim("progress"):
        seen = []

        async def progressed(progress, total, _message):
            seen.append((progress, total))

        await client.call(slow, {"duration": 0.5, "steps": 5}, progress_callback=progressed)
        await client.until(lambda: len(seen) == 5, 2)
        equal(seen, [(n, 5) for n in range(1, 6)])
    async with claims.claim("cancellation: no progress after it, and the session goes on"):
        reports = lambda: [note for note in client.notes if note.get("method") == "notifications/progress"]
        seen.clear()
        id_before = getattr(session, "_request_id", None)
        task = asyncio.create_task(client.call(slow, {"duration": 3, "steps": 30}, progress_callback=progressed))
        holds(await client.until(lambda: len(seen) >= 2), "no progress before it")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if LINE == 1:
            # This line does not tell the server that a task was cancelled; the 2.x line does.
            params = types.CancelledNotificationParams(requestId=id_before, reason="no longer needed")
            note = types.CancelledNotification(method="notifications/cancelled", params=params)
            await session.send_notification(types.ClientNotification(note))
        holds("again" in await client.text("everything__echo", {"message": "again"}), "no answer after it")
        count = len(reports())
        await asyncio.sleep(0.5)
        equal(len(reports()), count)
    async with claims.claim("fifty calls at once, each with its own answer"):
        texts = await asyncio.gather(*[client.text("everything__echo", {"message": f"<{n}>"}) for n in range(50)])
        equal(texts, [f"Echo: <{n}>" for n in range(50)])
    async with claims.claim("ping"):
        await session.send_ping()


async def main():
    brief = json.loads(Path(sys.argv[1]).read_text())
    direct = dict(
        zip(
            brief["servers"],
            await asyncio.gather(*[directly(server, brief["space"]) for server in brief["servers"].values()]),
        )
    )
    claims, client = Claims(), Client(brief["space"])
    async with client.connected(brief["front"]):
        async with claims.claim("initialize: the union of capabilities"):
            holds({"tools", "prompts", "resources", "logging", "completions"} <= client.greeting["capabilities"].keys(),
                  f"{client.greeting['capabilities']}")
        await claim_lists(claims, client, direct)
        await claim_calls(claims, client, brief)
        await claim_prompts_and_resources(claims, client)
        await claim_questions(claims, client)
        await claim_subscriptions_and_logs(claims, client)
        await claim_progress_and_cancellation(claims, client)
    print(f"{claims.passed} passed, {claims.failed} failed")
    sys.exit(1 if claims.failed else 0)


if __name__ == "__main__":
    asyncio.run(main())
