// The official TypeScript SDK (1.x) as a client of switchbox.
//
//   node client_node.mjs BRIEF
//
// BRIEF is what `client_python.py` gets: the front to claim things of, the servers behind it, a folder and the URL of
// a page. Each server is first listed directly, by this same client. One line for each claim.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { pathToFileURL } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const brief = JSON.parse(readFileSync(process.argv[2], "utf8"));
const PATIENCE = 15_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let passed = 0;
let failed = 0;

async function claim(name, body) {
  try {
    await body();
    passed++;
    console.log(`ok    ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}: ${String(error.message ?? error).slice(0, 600)}`);
  }
}

function holds(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

function equal(found, expected) {
  const show = (value) => (JSON.stringify(value) ?? "nothing").slice(0, 280);
  holds(isDeepStrictEqual(found, expected), `found ${show(found)}, expected ${show(expected)}`);
}

async function until(condition, timeout = PATIENCE) {
  for (const end = Date.now() + timeout; Date.now() < end; await pause(50)) {
    const result = await condition();
    if (result) return result;
  }
  return undefined;
}

/** A client that answers what it is asked, and keeps what it is told. */
async function connect(server) {
  const capabilities = { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } };
  const client = new Client({ name: "interop-node", version: "1.0.0" }, { capabilities });
  const told = { logs: [], updates: [], changes: [], progress: [], asked: [], errors: [] };
  client.onerror = (error) => told.errors.push(error);
  client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
    told.asked.push(params);
    return { role: "assistant", content: { type: "text", text: "a sampled answer" }, model: "no-model" };
  });
  client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
    told.asked.push(params);
    return { action: "accept", content: { name: "Ada", check: true, integer: 7 } };
  });
  const root = { uri: pathToFileURL(brief.space).href, name: "space" };
  client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: [root] }));
  const keep = (schema, list) => client.setNotificationHandler(schema, ({ params }) => void list.push(params));
  keep(types.LoggingMessageNotificationSchema, told.logs);
  keep(types.ResourceUpdatedNotificationSchema, told.updates);
  keep(types.ToolListChangedNotificationSchema, told.changes);
  const transport = server.url
    ? new StreamableHTTPClientTransport(new URL(server.url))
    : new StdioClientTransport({ ...server, stderr: "ignore" });
  await client.connect(transport);
  const close = async () => {
    await transport.terminateSession?.();
    await client.close();
  };
  return { client, told, close };
}

/** Every entry of a list, page by page, as it was on the wire. */
async function listed(client, method, key) {
  const entries = [];
  let cursor;
  do {
    const params = cursor ? { cursor } : {};
    const page = await client.request({ method, params }, types.ResultSchema);
    entries.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor);
  return entries;
}

const LISTS = [
  ["tools", "tools/list", "name"],
  ["prompts", "prompts/list", "name"],
  ["resources", "resources/list", "uri"],
  ["resourceTemplates", "resources/templates/list", "uriTemplate"],
];

/** What a server lists when it is asked without a gateway; some register tools after `initialized`. */
async function directly(server) {
  const { client, close } = await connect(server);
  const lists = {};
  for (const [key, method] of LISTS) {
    lists[key] = [];
    if (!client.getServerCapabilities()[method.split("/")[0]]) continue;
    for (let before; ; await pause(700)) {
      lists[key] = await listed(client, method, key).catch(() => []);
      if (key !== "tools" || isDeepStrictEqual(before, lists[key])) break;
      before = lists[key];
    }
  }
  await close();
  return lists;
}

const direct = Object.fromEntries(
  await Promise.all(Object.entries(brief.servers).map(async ([name, server]) => [name, await directly(server)])),
);
const { client, told, close } = await connect(brief.front);

async function text(name, given = {}) {
  const answer = await client.callTool({ name, arguments: given });
  const text = answer.content.map((block) => block.text ?? "").join("\n");
  holds(!answer.isError, text);
  return text;
}

// ── lists ───────────────────────────────────────────────────────────────────────────────────────────

const shown = (server, name, key) => (key === "tools" || key === "prompts" ? `${server}__${name}` : name);

await until(async () => {
  const names = new Set((await listed(client, "tools/list", "tools")).map((tool) => tool.name));
  return Object.entries(direct).every(([server, { tools }]) => tools.every((t) => names.has(`${server}__${t.name}`)));
});
for (const [key, method, id] of LISTS) {
  const entries = new Map((await listed(client, method, key)).map((entry) => [entry[id], entry]));
  for (const [server, lists] of Object.entries(direct)) {
    if (!lists[key].length) continue;
    await claim(`${key} of ${server}: all ${lists[key].length}, identical`, () => {
      for (const entry of lists[key]) {
        const found = entries.get(shown(server, entry[id], key));
        holds(found, `${entry[id]} is not listed`);
        equal({ ...found, [id]: entry[id] }, entry);
        // The order of members is part of what passes through as it is.
        equal(Object.keys(found), Object.keys(entry));
      }
    });
  }
}

// ── calls, prompts, resources, completion ───────────────────────────────────────────────────────────

const note = `${brief.space}/note-${process.pid}-${Date.now()}.txt`;
const entity = { name: `n${process.pid}-${Date.now()}`, entityType: "note", observations: ["seen"] };
const CALLS = [
  ["everything__echo", { message: "hello" }, "Echo: hello"],
  ["everything__get-sum", { a: 2, b: 3 }, "5"],
  ["filesystem__write_file", { path: note, content: "kept" }, "Successfully wrote"],
  ["filesystem__read_text_file", { path: note }, "kept"],
  ["memory__create_entities", { entities: [entity] }, entity.name],
  ["memory__open_nodes", { names: [entity.name] }, "seen"],
  ["thinking__sequentialthinking", { thought: "one", nextThoughtNeeded: false, thoughtNumber: 1, totalThoughts: 1 }, "thoughtNumber"],
  ["time__convert_time", { source_timezone: "UTC", time: "12:00", target_timezone: "Asia/Tokyo" }, "21:00"],
  ["fetch__fetch", { url: brief.page }, "A local page"],
  ["git__git_log", { repo_path: `${brief.space}/repository` }, "first commit"],
];
for (const [name, given, expected] of CALLS) {
  await claim(`call ${name}`, async () => {
    const got = await text(name, given);
    holds(got.includes(expected), `no ${expected} in ${got.slice(0, 280)}`);
  });
}
await claim("structured content passes its own schema", async () => {
  await client.listTools();
  const answer = await client.callTool({ name: "everything__get-structured-content", arguments: { location: "Chicago" } });
  holds(answer.structuredContent?.temperature !== undefined, JSON.stringify(answer));
});
await claim("an image arrives whole", async () => {
  const answer = await client.callTool({ name: "everything__get-tiny-image", arguments: {} });
  const image = answer.content.find((block) => block.type === "image");
  holds(Buffer.from(image.data, "base64").subarray(1, 4).toString() === "PNG", "not a PNG");
});
await claim("prompt with arguments", async () => {
  const got = await client.getPrompt({ name: "everything__args-prompt", arguments: { city: "Oslo", state: "none" } });
  holds(JSON.stringify(got).includes("Oslo"), JSON.stringify(got));
});
for (const uri of ["demo://resource/static/document/features.md", "demo://resource/dynamic/blob/7", "memory://knowledge-graph"]) {
  await claim(`read ${uri}`, async () => {
    const { contents } = await client.readResource({ uri });
    equal(contents[0].uri, uri);
  });
}
await claim("a resource that nobody has is refused", async () => {
  const error = await client.readResource({ uri: "nobody://at/all" }).catch((error) => error);
  holds(error instanceof types.McpError, "it was answered");
});
await claim("completion of a prompt's argument", async () => {
  const ref = { type: "ref/prompt", name: "everything__completable-prompt" };
  const { completion } = await client.complete({ ref, argument: { name: "department", value: "E" } });
  equal(completion.values, ["Engineering"]);
});

// ── what servers ask ────────────────────────────────────────────────────────────────────────────────

await claim("sampling", async () => {
  const got = await text("everything__trigger-sampling-request", { prompt: "why", maxTokens: 20 });
  holds(got.includes("a sampled answer"), got);
});
await claim("elicitation", async () => {
  holds((await text("everything__trigger-elicitation-request")).includes("Ada"), "no answer of ours");
});
await claim("elicitation by URL", async () => {
  const given = { url: "https://example.org/form", message: "please" };
  const answer = await client.callTool({ name: "everything__trigger-url-elicitation", arguments: given });
  holds(!answer.isError && told.asked.some((params) => params.mode === "url"), JSON.stringify(answer).slice(0, 400));
});
await claim("roots", async () => {
  holds((await text("everything__get-roots-list")).includes(pathToFileURL(brief.space).href), "not our root");
});

// ── logging, subscriptions, progress, cancellation ──────────────────────────────────────────────────

// The tools that toggle a periodic sender say which way they went.
async function toggled(tool) {
  if ((await text(tool)).startsWith("Stopped")) await text(tool);
}

await claim("log messages of a server reach the client", async () => {
  await client.setLoggingLevel("debug");
  await toggled("everything__toggle-simulated-logging");
  holds(await until(() => told.logs.length), "no log message");
  await text("everything__toggle-simulated-logging");
});
await claim("an update of a subscribed resource reaches the client", async () => {
  const uri = "demo://resource/dynamic/text/3";
  await client.subscribeResource({ uri });
  await toggled("everything__toggle-subscriber-updates");
  holds(await until(() => told.updates.some((params) => params.uri === uri)), "no notification");
  await text("everything__toggle-subscriber-updates");
  await client.unsubscribeResource({ uri });
});

const slow = (duration, steps) => ({ name: "everything__trigger-long-running-operation", arguments: { duration, steps } });
await claim("progress", async () => {
  const seen = [];
  await client.callTool(slow(0.5, 5), undefined, { onprogress: ({ progress, total }) => seen.push([progress, total]) });
  // This SDK forgets who asked as soon as the answer is read, so the last report may come too late for it when both
  // arrive in one piece.
  equal(seen.slice(0, 4), [1, 2, 3, 4].map((n) => [n, 5]));
});
await claim("cancellation: no answer after it, and the session goes on", async () => {
  const stop = new AbortController();
  let seen = 0;
  const onprogress = () => ++seen;
  const call = client.callTool(slow(1.5, 15), undefined, { onprogress, signal: stop.signal }).catch((error) => error);
  holds(await until(() => seen >= 2), "no progress before it");
  told.errors.length = 0;
  stop.abort("no longer needed");
  holds((await call) instanceof Error, "it was answered");
  holds((await text("everything__echo", { message: "again" })).includes("again"), "no answer after it");
  await pause(2000);
  // The SDK reports an answer, or progress, that belongs to no request of its own.
  equal(told.errors.map(String).filter((error) => !error.includes("SSE stream")), []);
});
await claim("fifty calls at once, each with its own answer", async () => {
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  const texts = await Promise.all(numbers.map((n) => text("everything__echo", { message: `<${n}>` })));
  equal(texts, numbers.map((n) => `Echo: <${n}>`));
});
await claim("ping", () => client.ping());

await close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
