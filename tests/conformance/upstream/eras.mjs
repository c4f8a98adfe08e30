// The two ways to speak to the server of this folder, above any transport: a `Session` for revisions that begin with
// `initialize`, and `modern` for the one without sessions. What is offered is the same in both.
//
// A transport hands in parsed messages and a `send` for what goes out on behalf of the request at hand; it gets a
// result, or a `Fault` is thrown. Written from the specification, without an SDK, so that the server can be of one era
// only and promises nothing that an SDK would have done behind its back.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { PROMPTS, RESOURCES_SHOWN, TEMPLATE, TOOLS, completion, resource } from "./offer.mjs";

export const MODERN = "2026-07-28";
export const LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

export const key = (name) => `io.modelcontextprotocol/${name}`;
const INFO = { name: "conformance-upstream", version: "2.0.0" };
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
const CAPABILITIES = {
  tools: { listChanged: true },
  resources: { subscribe: true, listChanged: true },
  prompts: { listChanged: true },
  logging: {},
  completions: {},
};
const CAPABILITY_OF = { "elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots" };
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** An error answer; `status` is that of the HTTP response which carries it. */
export class Fault extends Error {
  constructor(code, message, { data, status = 200 } = {}) {
    super(message);
    Object.assign(this, { code, data, status });
  }

  answer(id) {
    const error = { code: this.code, message: this.message };
    return { jsonrpc: "2.0", id, error: this.data === undefined ? error : { ...error, data: this.data } };
  }
}

/** Thrown through a tool that asks: the round ends here, with these questions. */
class Unanswered extends Error {
  constructor(inputRequests, requestState) {
    super("input required");
    this.result = { resultType: "input_required", inputRequests, ...(requestState && { requestState }) };
  }
}

// ── what both eras share ────────────────────────────────────────────────────────────────────────────

/** The offer as it is now, and those who want to hear when it changes. */
class Server {
  #hearers = new Set();
  #extra = { tool: false, prompt: false };

  /** Until the function that is returned is called, `hear` gets the method and params of what happens. */
  heard(hear) {
    this.#hearers.add(hear);
    return () => this.#hearers.delete(hear);
  }

  toggle(kind) {
    this.#extra[kind] = !this.#extra[kind];
    for (const hear of this.#hearers) hear(`notifications/${kind}s/list_changed`, {});
  }

  async answer(method, params, call) {
    const name = params.name;
    switch (method) {
      case "tools/list": {
        const tools = Object.entries(TOOLS).map(([name, [description, inputSchema]]) => ({ name, description, inputSchema }));
        if (this.#extra.tool) tools.push({ name: "sometimes", description: "Comes and goes", inputSchema: { type: "object" } });
        return { tools };
      }
      case "tools/call":
        if (!Object.hasOwn(TOOLS, name)) throw new Fault(-32602, `no tool ${name}`);
        try {
          return { content: await TOOLS[name][2](params.arguments ?? {}, call) };
        } catch (error) {
          if (error instanceof Fault || error instanceof Unanswered) throw error;
          return { content: [{ type: "text", text: error.message }], isError: true };
        }
      case "prompts/list": {
        const prompts = Object.entries(PROMPTS).map(([name, [given]]) => ({ name, description: `The prompt ${name}`, arguments: given }));
        if (this.#extra.prompt) prompts.push({ name: "sometimes", description: "Comes and goes" });
        return { prompts };
      }
      case "prompts/get":
        if (!Object.hasOwn(PROMPTS, name)) throw new Fault(-32602, `no prompt ${name}`);
        return { messages: await PROMPTS[name][1](params.arguments ?? {}, call) };
      case "resources/list":
        return { resources: RESOURCES_SHOWN };
      case "resources/templates/list":
        return { resourceTemplates: [TEMPLATE] };
      case "resources/read": {
        const found = resource(params.uri);
        if (found) return { contents: [found] };
        throw new Fault(call.missing, `no resource ${params.uri}`, { data: { uri: params.uri } });
      }
      case "completion/complete":
        return { completion: completion(params.argument) };
      default:
        throw new Fault(-32601, `no method ${method}`, { status: 404 });
    }
  }
}

/** A request under way, as a tool sees it. Eras differ in how they `ask`. */
class Call {
  level = Infinity;

  constructor(server, params, send) {
    this.server = server;
    this.meta = params._meta ?? {};
    this.send = send;
  }

  progress(progress, total) {
    const progressToken = this.meta.progressToken;
    if (progressToken !== undefined) this.notify("notifications/progress", { progressToken, progress, total });
  }

  log(level, data) {
    if (LEVELS.indexOf(level) >= this.level) this.notify("notifications/message", { level, logger: "upstream", data });
  }

  notify(method, params) {
    this.send({ jsonrpc: "2.0", method, params });
  }

  /** Ends the stream of this request, where its era and its transport let the client come back for the rest. */
  cut() {}
}

const levelOf = (level) => {
  if (!LEVELS.includes(level)) throw new Fault(-32602, `no log level ${level}`);
  return LEVELS.indexOf(level);
};

export const server = new Server();

// ── with sessions ───────────────────────────────────────────────────────────────────────────────────

class LegacyCall extends Call {
  missing = -32002;

  constructor(session, params, channel) {
    super(server, params, channel.send);
    this.session = session;
    this.level = session.level;
    this.capabilities = session.capabilities;
    this.cut = channel.cut ?? this.cut;
  }

  async ask(questions) {
    const answers = Object.values(questions).map(({ method, params }) => this.session.ask(this.send, method, params));
    const given = await Promise.all(answers);
    return Object.fromEntries(Object.keys(questions).map((name, i) => [name, given[i]]));
  }
}

/** One conversation that begins with `initialize`. `tell` sends what belongs to no request. */
export class Session {
  level = 0;
  capabilities = {};
  version = null;
  #asked = new Map();
  #asked_count = 0;
  #running = new Map();
  #close = () => {};

  constructor(tell) {
    this.tell = tell;
  }

  close() {
    this.#close();
    for (const { reject } of this.#asked.values()) reject(new Error("the session is over"));
  }

  /** The result of a request, or `undefined` when the client has cancelled it. */
  async request({ id, method, params = {} }, channel) {
    switch (method) {
      case "initialize":
        this.version = LEGACY.includes(params.protocolVersion) ? params.protocolVersion : LEGACY.at(-1);
        this.capabilities = params.capabilities ?? {};
        this.#close = server.heard((method, params) => this.tell({ jsonrpc: "2.0", method, params }));
        return { protocolVersion: this.version, capabilities: CAPABILITIES, serverInfo: INFO };
      case "ping":
        return {};
      case "logging/setLevel":
        this.level = levelOf(params.level);
        return {};
      // Nothing that is offered ever changes in itself, so nobody is told.
      case "resources/subscribe":
      case "resources/unsubscribe":
        return {};
      default: {
        const cancelled = new Promise((resolve) => this.#running.set(id, resolve));
        const answer = server.answer(method, params, new LegacyCall(this, params, channel));
        answer.catch(() => {});
        return Promise.race([answer, cancelled]).finally(() => this.#running.delete(id));
      }
    }
  }

  notified({ method, params }) {
    if (method === "notifications/cancelled") this.#running.get(params?.requestId)?.();
  }

  answered({ id, result, error }) {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (error) asked?.reject(new Error(`the client refuses: ${error.message}`));
    else asked?.resolve(result);
  }

  ask(send, method, params) {
    const id = `asked-${++this.#asked_count}`;
    if (method === "elicitation/create" && this.version === LEGACY.at(-1)) params = { mode: "form", ...params };
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      send({ jsonrpc: "2.0", id, method, params });
    });
  }
}

// ── without sessions ────────────────────────────────────────────────────────────────────────────────

const SECRET = randomBytes(32);

function seal(kept, subject) {
  const body = Buffer.from(JSON.stringify(kept)).toString("base64url");
  return `${body}.${createHmac("sha256", SECRET).update(`${subject}\n${body}`).digest("base64url")}`;
}

function unseal(state, subject) {
  const body = String(state).split(".")[0];
  const [given, own] = [String(state), `${body}.${createHmac("sha256", SECRET).update(`${subject}\n${body}`).digest("base64url")}`];
  if (given.length !== own.length || !timingSafeEqual(Buffer.from(given), Buffer.from(own))) {
    throw new Fault(-32602, "requestState is not of this server");
  }
  return JSON.parse(Buffer.from(body, "base64url"));
}

class ModernCall extends Call {
  missing = -32602;
  #subject;
  #answers; // of this round
  #kept; // of the rounds before it: one object of answers each
  #asked_count = 0;

  constructor(method, params, send) {
    super(server, params, send);
    this.capabilities = this.meta[key("clientCapabilities")];
    const level = this.meta[key("logLevel")];
    if (level !== undefined) this.level = levelOf(level);
    this.#subject = JSON.stringify([method, params.name ?? params.uri, params.arguments]);
    this.#answers = params.inputResponses;
    if (this.#answers !== undefined && !(isObject(this.#answers) && Object.values(this.#answers).every(isObject))) {
      throw new Fault(-32602, "inputResponses is not an object of objects");
    }
    this.#kept = params.requestState === undefined ? [] : unseal(params.requestState, this.#subject);
  }

  /** `sealed`: the state of the rounds so far travels with the questions, even when there were none. */
  async ask(questions, sealed) {
    const missing = Object.values(questions).map(({ method }) => CAPABILITY_OF[method]).filter((name) => !(name in this.capabilities));
    if (missing.length) {
      const requiredCapabilities = Object.fromEntries(missing.map((name) => [name, {}]));
      throw new Fault(-32021, "the client does not declare what this needs", { data: { requiredCapabilities }, status: 400 });
    }
    const round = this.#asked_count++;
    if (round < this.#kept.length) return this.#kept[round];
    const given = this.#answers;
    if (!given || !Object.keys(questions).every((name) => Object.hasOwn(given, name))) {
      throw new Unanswered(questions, sealed || round > 0 ? seal(this.#kept, this.#subject) : undefined);
    }
    // They answer one round only: what is asked next has not been seen by the client yet.
    this.#kept.push(given);
    this.#answers = undefined;
    return given;
  }
}

const CACHEABLE = ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

/** The result of a request that carries all it needs. Only `signal` ends a subscription. */
export async function modern({ id, method, params }, { send, signal }) {
  demand(params);
  let result;
  try {
    if (method === "server/discover") result = { supportedVersions: [MODERN], capabilities: CAPABILITIES };
    else if (method === "subscriptions/listen") result = await listen(id, params, send, signal);
    else result = await server.answer(method, params, new ModernCall(method, params, send));
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    result = error.result;
  }
  if (CACHEABLE.includes(method)) result = { ...result, ttlMs: 1000, cacheScope: "public" };
  return { resultType: "complete", ...result, _meta: { ...result._meta, [key("serverInfo")]: INFO } };
}

/** Refuses a request without what each has to carry. */
function demand(params) {
  const meta = params?._meta;
  const version = meta?.[key("protocolVersion")];
  if (typeof version !== "string" || !isObject(meta[key("clientCapabilities")])) {
    throw new Fault(-32602, "_meta lacks protocolVersion or clientCapabilities", { status: 400 });
  }
  if (version !== MODERN) {
    throw new Fault(-32022, `version ${version} is not served`, { data: { supported: [MODERN], requested: version }, status: 400 });
  }
}

async function listen(id, params, send, signal) {
  const wanted = params.notifications;
  if (!isObject(wanted)) throw new Fault(-32602, "notifications is not an object");
  const known = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];
  const notifications = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => known.includes(name) && value));
  const _meta = { [key("subscriptionId")]: id };
  const tell = (method, params) => send({ jsonrpc: "2.0", method, params: { ...params, _meta } });
  tell("notifications/subscriptions/acknowledged", { notifications });
  const stop = server.heard((method, params) => {
    const kind = /^notifications\/(\w+)\/list_changed$/.exec(method)?.[1];
    if (notifications[`${kind}ListChanged`]) tell(method, params);
  });
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  stop();
  return { _meta };
}
