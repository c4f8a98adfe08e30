// Streamable HTTP, of both eras: sessions with streams that can be taken up again, and requests that stand alone.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Fault, MODERN, Session, key, modern } from "./eras.mjs";

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;
const JSON_TYPE = "application/json";
const SSE_TYPE = "text/event-stream";

export function serveHttp(port, eraOf) {
  const sessions = new Map();
  const listener = createServer(async (request, response) => {
    try {
      await serve(request, response, sessions, eraOf);
    } catch (error) {
      const fault = error instanceof Fault ? error : new Fault(-32603, error.message, { status: 500 });
      reply(response, fault.status, fault.answer(null));
    }
  });
  listener.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/mcp`));
}

async function serve(request, response, sessions, eraOf) {
  const { headers, method } = request;
  const origin = headers.origin && new URL(headers.origin).host;
  if (!LOCAL.test(headers.host ?? "") || (origin && !LOCAL.test(origin))) return reply(response, 403);
  if (new URL(request.url, "http://localhost").pathname !== "/mcp") return reply(response, 404);
  const session = sessions.get(headers["mcp-session-id"]);
  if (method === "GET" || method === "DELETE") {
    if (eraOf({}) === "modern") return reply(response, 405);
    if (!session) return reply(response, headers["mcp-session-id"] ? 404 : 400);
    if (method === "GET") return session.take_up(headers["last-event-id"], response);
    session.close();
    sessions.delete(session.id);
    return reply(response, 204);
  }
  if (method !== "POST") return reply(response, 405);
  if (![JSON_TYPE, SSE_TYPE].every((type) => headers.accept?.includes(type))) {
    throw new Fault(-32600, `accept lists not both ${JSON_TYPE} and ${SSE_TYPE}`, { status: 406 });
  }
  const message = await body(request);
  if (eraOf(message, headers["mcp-protocol-version"]) === "modern") return serveModern(message, headers, response);
  return serveLegacy(message, headers, response, sessions);
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  let message;
  try {
    message = JSON.parse(Buffer.concat(parts));
  } catch {
    throw new Fault(-32700, "not JSON", { status: 400 });
  }
  if (typeof message !== "object" || Array.isArray(message)) throw new Fault(-32600, "not one message", { status: 400 });
  return message;
}

function reply(response, status, message, headers = {}) {
  if (message) headers["content-type"] = JSON_TYPE;
  response.writeHead(status, headers).end(message && JSON.stringify(message));
}

// ── with sessions ───────────────────────────────────────────────────────────────────────────────────

async function serveLegacy(message, headers, response, sessions) {
  let session = sessions.get(headers["mcp-session-id"]);
  if (!session) {
    if (headers["mcp-session-id"]) throw new Fault(-32001, "no such session", { status: 404 });
    if (message.method !== "initialize") throw new Fault(-32000, "not initialized", { status: 400 });
    session = new HttpSession();
    sessions.set(session.id, session);
  }
  if (message.method === undefined) session.answered(message);
  else if (message.id === undefined) session.notified(message);
  else return session.serve(message, response);
  return reply(response, 202);
}

/** A session whose streams keep what they carried, so that a client that lost one gets the rest of it. */
class HttpSession extends Session {
  id = randomUUID();
  #streams = [];
  #unsolicited = this.#stream();

  constructor() {
    super((message) => this.#unsolicited.send(message));
  }

  #stream() {
    const stream = new Stream(this.#streams.length);
    this.#streams.push(stream);
    return stream;
  }

  async serve(message, response) {
    const { id } = message;
    const stream = this.#stream();
    if (message.method !== "initialize") stream.attach(response, 0, this.version);
    const channel = { send: (message) => stream.send(message), cut: () => stream.cut() };
    const answer = await this.request(message, channel).then(
      (result) => result && { jsonrpc: "2.0", id, result },
      (error) => (error instanceof Fault ? error : new Fault(-32603, error.message)).answer(id),
    );
    if (message.method === "initialize") return reply(response, 200, answer, { "mcp-session-id": this.id });
    if (answer) stream.send(answer);
    stream.end();
  }

  take_up(last, response) {
    if (last === undefined) return this.#unsolicited.attach(response, 0, this.version);
    const [stream, count] = last.split("/").map(Number);
    if (!this.#streams[stream]) return reply(response, 400);
    this.#streams[stream].attach(response, count, this.version);
  }
}

/** Server-sent events with ids `stream/n`, the n-th message of the stream, to whichever response is attached. */
class Stream {
  #kept = [];
  #response = null;
  #ended = false;

  constructor(number) {
    this.number = number;
  }

  attach(response, from, version) {
    this.#response = response;
    response.on("close", () => this.#response === response && (this.#response = null));
    response.writeHead(200, { "content-type": SSE_TYPE, "cache-control": "no-cache" });
    response.flushHeaders();
    // The event that says where to begin again; clients of older revisions do not expect one without a message.
    if (version === "2025-11-25") response.write(`id: ${this.number}/${from}\nretry: 500\ndata:\n\n`);
    for (let n = from; n < this.#kept.length; n++) this.#write(n);
    if (this.#ended) this.cut();
  }

  send(message) {
    this.#kept.push(message);
    this.#write(this.#kept.length - 1);
  }

  #write(n) {
    this.#response?.write(`id: ${this.number}/${n + 1}\ndata: ${JSON.stringify(this.#kept[n])}\n\n`);
  }

  cut() {
    this.#response?.end();
    this.#response = null;
  }

  end() {
    this.#ended = true;
    this.cut();
  }
}

// ── without sessions ────────────────────────────────────────────────────────────────────────────────

async function serveModern(message, headers, response) {
  const { id, method, params } = message;
  if (method === undefined) throw new Fault(-32600, "an answer, to nothing that was asked", { status: 400 });
  if (id === undefined) return reply(response, 202);
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  // One object is the answer unless something goes out before it.
  const send = (message) => {
    if (gone.signal.aborted) return;
    if (!response.headersSent) response.writeHead(200, { "content-type": SSE_TYPE, "x-accel-buffering": "no" });
    response.write(`data: ${JSON.stringify(message)}\n\n`);
  };
  let status = 200;
  let answer;
  try {
    agree(method, params, headers);
    answer = { jsonrpc: "2.0", id, result: await modern(message, { send, signal: gone.signal }) };
  } catch (error) {
    const fault = error instanceof Fault ? error : new Fault(-32603, error.message);
    [status, answer] = [fault.status, fault.answer(id)];
  }
  if (!response.headersSent) return reply(response, status, answer);
  send(answer);
  response.end();
}

const NAMED_BY = { "tools/call": "name", "prompts/get": "name", "resources/read": "uri" };

/** Refuses headers that say something else than the body. */
function agree(method, params, headers) {
  const mismatch = (what) => new Fault(-32020, `${what} is not what the body says`, { status: 400 });
  const version = params?._meta?.[key("protocolVersion")];
  if (method === "initialize" && version === undefined) {
    const requested = params?.protocolVersion;
    throw new Fault(-32022, "there is no session to begin", { data: { supported: [MODERN], requested }, status: 400 });
  }
  if (version !== undefined && headers["mcp-protocol-version"] !== version) throw mismatch("MCP-Protocol-Version");
  if (headers["mcp-method"] !== method) throw mismatch("Mcp-Method");
  const name = params?.[NAMED_BY[method]];
  if (name !== undefined && plain(headers["mcp-name"]) !== name) throw mismatch("Mcp-Name");
}

/** A header's value, out of the wrapping for what a header cannot say. */
function plain(value) {
  const wrapped = /^=\?base64\?(.*)\?=$/.exec(value ?? "")?.[1];
  return wrapped === undefined ? value : Buffer.from(wrapped, "base64").toString();
}
