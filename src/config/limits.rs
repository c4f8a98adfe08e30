//! Every number an operator might ask about: what is the most, and what happens past it.
//!
//! Grouped by what they bound. Each says what comes after it; `const` assertions below hold those that
//! must agree with each other.

use std::time::Duration;

// ── HTTP, from clients ───────────────────────────────────────────────────────────────────────────

/// Bytes of one request head, from the first byte to the blank line.
///
/// Past this: 431 and close, since what follows cannot be framed. RFC 9110 §5.4, RFC 6585 §5.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one request head that a connection keeps, to know the next by it. A longer one is read each time.
pub const HEAD_KEPT_BYTES_MAX: usize = 1024;
/// Bytes of one request target. Past this: 414 and close. RFC 9110 §15.5.15.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Header fields of one head. Past this: 431 and close.
pub const HEADER_FIELDS_MAX: usize = 100;
/// Bytes of one request body, after chunked decoding. Past this: 413 and close. RFC 9110 §15.5.14.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A `Content-Length` that is still taken for a body meant seriously. Past this: 400 and close.
pub const CONTENT_LENGTH_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one chunk-size line with its extensions. Past this: 400 and close.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of a chunked body's trailer section. Past this: 400 and close.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;
/// Bytes kept of what a client sends ahead of an answer (pipelining). Past this it is read no further
/// until the answer is out.
pub const PIPELINE_BYTES_MAX: usize = 64 * 1024;
/// How long a client is told to wait before it comes back for a stream that broke (`retry`).
pub const CLIENT_STREAM_RETRY: Duration = Duration::from_secs(1);
/// Connections that the kernel keeps for us while we are busy. It may keep fewer (`net.core.somaxconn`); past this
/// clients try again.
pub const ACCEPT_BACKLOG: i32 = 4096;
/// First wait after accepting was impossible, for want of descriptors mostly; it doubles.
pub const ACCEPT_WAIT_FIRST: Duration = Duration::from_millis(10);
/// Longest such wait.
pub const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);
/// From a request's first byte to the end of its head. Past this: 408 and close.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of a request body, each of [`PIECE_BYTES_MIN`] at least. Past this: 408 and close.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of a head to the end of its body. Past this: 408 and close.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that the buffer of a body has room for when more than a piece of it has come. Past this it doubles, so
/// that a client holds little more than it has sent, whatever it has announced.
pub const BODY_ROOM_BYTES: usize = HEAD_BYTES_MAX + 64 * 1024;
/// A connection on which nothing is asked. Past this it is closed.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Between two pieces of an answer that the client takes, each of [`PIECE_BYTES_MIN`] at least. Past this the connection is reset.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Since a client's system took anything of what ours holds for it, which is what an answer is by then that fits
/// there. Past this the connection is reset.
pub const TAKE_TIMEOUT: Duration = Duration::from_secs(14);
/// Bytes that count as a piece of a body or of an answer. Fewer, in the time for one, are as none: a client
/// that moves a byte now and then holds a connection for nothing.
pub const PIECE_BYTES_MIN: usize = 4 * 1024;
/// After the last answer of a connection, for what the client still sends: read and thrown away, since
/// closing at once would reset the connection and could take the answer with it. RFC 9112 §9.6.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Unsent bytes of one event stream when one more event comes. Past this the reader is too slow and the
/// stream is cut.
pub const STREAM_BACKLOG_BYTES_MAX: usize = 1024 * 1024;
/// The same of a stream that carries the answers of several requests, which may come at once: a batch's, or
/// all of an HTTP+SSE client's.
pub const ANSWERS_BACKLOG_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Unsent bytes to the client on standard input and output. Past this it is read no further until it has taken
/// some: what it sent meanwhile waits.
pub const LINES_BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Between two comments on a silent event stream, so that proxies keep it open.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Open client connections of the process. Past this the newest is closed at once, and counted.
pub const CONNECTIONS_MAX: usize = 16 * 1024;

// ── JSON-RPC ─────────────────────────────────────────────────────────────────────────────────────

/// Arrays and objects inside each other in one message. Past this: -32700.
pub const JSON_DEPTH_MAX: usize = 128;
/// Bytes of a request id as it is written. Past this: -32600.
pub const ID_BYTES_MAX: usize = 256;
/// Messages of one batch (2025-03-26 only). Past this: -32600, and none of them is looked at.
pub const BATCH_MESSAGES_MAX: usize = 100;
/// Bytes of one batch. Past this: -32600, and none of its messages is looked at.
pub const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Bytes of a batch's answers that are kept until all are there. Past this they are given as they come, or, to
/// a client that takes no event stream, replaced by errors.
pub const BATCH_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one line of a child's stdout. Past this the child is taken to have lost its framing and is
/// started again.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one answer of an HTTP server, and of one event of its streams. Past this the exchange fails.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

// ── sessions and exchanges ───────────────────────────────────────────────────────────────────────

/// Sessions of the process. Past this the longest idle one without a stream gives way; if there is
/// none: 503.
pub const SESSIONS_MAX: usize = 100_000;
/// A session without a stream on which nothing was asked. Past this it ends; its id is then unknown (404).
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Exchanges in flight, on each worker. Past this: 503 with `Retry-After`.
pub const EXCHANGES_MAX: usize = 16 * 1024;
/// Exchanges in flight of one session, on each worker. Past this: 503 with `Retry-After`.
pub const SESSION_EXCHANGES_MAX: usize = 256;
/// Exchanges in flight at one upstream conversation. Past this: 503 with `Retry-After`.
pub const UPSTREAM_EXCHANGES_MAX: usize = 4096;
/// One exchange, however much progress it reports. Past this it is cancelled.
pub const EXCHANGE_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Bytes of events kept of one session for `Last-Event-ID`. Past this the oldest are forgotten.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// Subscribed resources of one session. Past this: -32602.
pub const SUBSCRIPTIONS_MAX: usize = 1024;
/// Requests of servers that one session has not answered yet, and questions in one answer of a modern server. Past
/// this further ones are refused.
pub const CLIENT_REQUESTS_MAX: usize = 64;
/// A client's answer to a server's request. Past this the server gets an error.
pub const CLIENT_REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

// ── catalog ──────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a tool's or prompt's name as clients see it. Longer ones are cut and end in a hash.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a server's name. Past this the configuration is refused.
pub const SERVER_NAME_BYTES_MAX: usize = 48;
/// Pages that are asked of one server for one list. Past this the rest is left out, with a warning.
pub const LIST_PAGES_MAX: usize = 1000;
/// Entries taken of one server for one list. Past this the rest is left out, with a warning.
pub const LIST_ENTRIES_MAX: usize = 10_000;
/// How many listings in a row may be passed over because the server said meanwhile that they are out of date. Past
/// this what it listed is shown all the same.
pub const LISTS_SKIPPED_MAX: u8 = 3;
/// How long to wait before lists that a server did not answer are asked for again. What it listed before is shown.
pub const LIST_RETRY: Duration = Duration::from_secs(5);
/// Entries of one page of a list as clients see it. The next ones come with a cursor.
pub const PAGE_ENTRIES_MAX: usize = 1000;
/// Bytes from which on an answer that many clients get is worth a file in memory, of which the kernel sends
/// it without a copy. For shorter ones the two further calls cost more than the copy.
pub const MEMFILE_BYTES_MIN: usize = 32 * 1024;
/// Bytes of such files. Past this those not sent for the longest are given up, and are copied when sent.
pub const MEMFILES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Such files. Past this likewise.
pub const MEMFILES_MAX: usize = 64;
/// Sets of client capabilities with a catalog of their own. Past this, one that nobody has asked for in
/// [`CATALOG_IDLE_TIMEOUT`] gives way, or else one of the principal that has the most; where neither is, clients
/// see what those see that declared nothing.
pub const CATALOGS_MAX: usize = 64;
/// How long such a catalog is kept though nobody asks for it and no session or stream is open that could. Longer
/// than the conversations live in which it was listed: the next one lists it again.
pub const CATALOG_IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a modern client's `_meta` that a connection remembers, or of a modern server's that a conversation does,
/// so that the same need not be read again each time. Most are a quarter of this; a longer one is read each time.
pub const CARD_BYTES_MAX: usize = 1024;
/// Arguments of one tool that are mirrored in headers (`x-mcp-header`). A tool with more is one that breaks the
/// rules for them.
pub const HEADER_PARAMS_MAX: usize = 32;
/// Bytes of such a header's name after `Mcp-Param-`. A tool with a longer one likewise.
pub const HEADER_PARAM_BYTES_MAX: usize = 128;
/// Bytes of a client's declared capabilities. Past this: -32602.
pub const CAPABILITIES_BYTES_MAX: usize = 16 * 1024;
/// Between two announcements that a list changed.
pub const LIST_CHANGED_INTERVAL: Duration = Duration::from_millis(100);

// ── upstreams ────────────────────────────────────────────────────────────────────────────────────

/// Servers of one configuration. Past this the configuration is refused.
pub const SERVERS_MAX: usize = 1000;
/// One exchange with a server, unless it is set for that server.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(60);
/// A TCP connection to a server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a message that wants no answer, such as the answer to what a server asked, is sent again to an HTTP
/// server whose connection broke before it was taken.
pub const RESENDS_MAX: u8 = 3;
/// Silence on a connection to a server, before its system is asked whether it is still there: a stream of changes
/// may have nothing to say for days, and a server that was cut off says nothing either. Clients need no such
/// question: what they are sent every [`STREAM_KEEP_ALIVE`] is not taken if they are gone ([`TAKE_TIMEOUT`]).
pub const SERVER_SILENCE: Duration = Duration::from_secs(60);
/// Between two such questions.
pub const SERVER_PROBE_INTERVAL: Duration = Duration::from_secs(20);
/// Such questions in a row without an answer. Past this the connection has failed.
pub const SERVER_PROBES_MAX: u32 = 3;
/// A server's answer to the question which era it speaks. Silence is a legacy server's.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The word of an HTTP+SSE server where it wants its messages, with which its stream begins.
pub const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server's answer to `initialize`.
pub const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection to an HTTP server. Most servers close theirs after 5 s: ours goes first.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Connections each worker keeps to one HTTP server, unless it is set for that server.
pub const POOL_CONNECTIONS: usize = 256;
/// Children of one stdio server, unless it is set for that server. Past this sessions share them, or are refused where
/// each is to have its own.
pub const CHILDREN_MAX: usize = 1024;
/// Children of one stdio server for each worker from which on they are spread over workers. One that may have fewer has
/// them all with the one worker, so that a part of them is not refused while another is unused.
pub const CHILDREN_OF_ONE_MIN: usize = 16;
const _: () = assert!(CHILDREN_OF_ONE_MIN * WORKERS_MAX <= CHILDREN_MAX);
/// Children of one stdio server that a session has for itself only because it can be asked something
/// (sampling, elicitation, roots). Further such sessions share one, and what a server asks in it is refused
/// unless it is clear for whom it is.
pub const ASKED_CHILDREN_MAX: usize = 64;
/// Sets of what modern clients declare, by principal, whose lists each worker waits for. Clients past this are
/// shown at once what is known.
pub const COMMON_GUESTS_MAX: usize = 256;
/// Conversations with one server that calls of modern clients may have to themselves because they may be asked
/// something, whatever they declare and whoever they are, those included that nobody uses at the moment; each worker
/// has its share. A further call gets the place of the one that has not been used for the longest, or waits, and is
/// refused when its time is over. This holds for servers with one stream, which are children and those of HTTP+SSE.
pub const LANES_MAX: usize = 64;
/// The same for servers on streamable HTTP, to which a conversation costs a session and not a process.
pub const LANES_HTTP_MAX: usize = 256;
/// How many children each worker starts for those who declare the same without waiting for another to become free.
pub const LANES_EAGER: usize = 2;
/// How long a call waits for another to be over before it gets a conversation of its own.
pub const LANE_PATIENCE: Duration = Duration::from_millis(250);
/// Tasks of one conversation with a server whose news are passed on. Past this the oldest are told of no more.
pub const TASKS_MAX: usize = 1024;
/// Bytes of a server's id of a task. Past this nothing is told of it but answers.
pub const TASK_ID_BYTES_MAX: usize = 1024;
/// How long a lane rests after a call in which its server asked something, where clients have no keys: a question that
/// comes late must not be taken for the next client's.
pub const LANE_REST: Duration = Duration::from_secs(2);
/// How long a call may go on at its server after its client was refused, because the server asked for what that had
/// not declared. Past this the call is cancelled, and its lane ended.
pub const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls of modern clients that wait for their clients to come back with what the server asked, on each worker.
pub const PARKED_MAX: usize = 1024;
/// Bytes of answers that came while their clients were still expected back with theirs, on each worker. Past this an
/// answer is not kept, and who comes back for it is told so.
pub const PARKED_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long each waits, unless others need its place: one gives way to those every [`LANE_PATIENCE`].
pub const PARKED_TIMEOUT: Duration = Duration::from_secs(300);
/// How long questions that a server asks at almost the same time are gathered before the client is given them.
pub const GATHER_INTERVAL: Duration = Duration::from_millis(20);
/// How often in a row a server may answer one call with questions instead.
pub const ROUNDS_MAX: u32 = 16;
/// How long a client that listens waits for the servers of what it wants to hear of. What they have not granted by
/// then is left out of what it is told that it will hear of.
pub const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long subscriptions to a modern server's resources are gathered before it is asked for all of them anew.
pub const LISTEN_INTERVAL: Duration = Duration::from_millis(20);
/// Streams of changes (`subscriptions/listen`) that modern clients hold open on each worker.
pub const LISTENS_MAX: usize = 16 * 1024;
/// Of those, streams of one principal, or of one address where there are no keys. Past this: 503 with `Retry-After`.
pub const LISTENS_OF_ONE_MAX: usize = 1024;
/// Resources and tasks that all of these name. Past this likewise.
pub const LISTENED_OF_ONE_MAX: usize = 16 * 1024;
/// Resources of which a legacy server has been asked to tell and has not said whether it will. Further ones wait.
pub const SUBSCRIBES_AT_ONCE: usize = 64;
/// First wait before a server that failed is tried again; it doubles, with full jitter.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a server must have been up for the wait to begin anew.
pub const BACKOFF_RESET: Duration = Duration::from_secs(60);
/// How long to wait before a server's stream that broke is asked for again, unless the server says otherwise.
pub const STREAM_RETRY: Duration = Duration::from_secs(1);
/// The shortest that a server may make us wait for that.
pub const STREAM_RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest that a server may make us wait for that.
pub const STREAM_RETRY_MAX: Duration = Duration::from_secs(60);
/// How often the wait doubles before a server is listened to again whose stream of changes broke each time before it
/// had granted any.
pub const STREAM_RETRY_DOUBLINGS_MAX: u32 = 5;
/// Bytes of an unexpected answer of a server that an error quotes: enough for its first sentence.
pub const ANSWER_BYTES_QUOTED: usize = 200;
/// Threads that look up names of servers. Past this lookups wait for each other.
pub const RESOLVER_THREADS: usize = 4;
/// How long the addresses of a server's name are believed. The resolver does not say for how long they may be.
pub const ADDRESSES_LIFETIME: Duration = Duration::from_secs(60);
/// After a session has left, or had its answer, how long what the server says of its own accord is given to nobody
/// else: it could still be meant for that one.
pub const FAREWELL: Duration = Duration::from_secs(10);
/// Bytes kept of a child's stderr.
pub const STDERR_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of one line of it. The rest of the line is passed over, and what may be a secret there is, too.
pub const STDERR_LINE_BYTES_MAX: usize = 1024;
/// Lines of a child's stderr that an error quotes.
pub const STDERR_LINES_QUOTED: usize = 20;
/// Bytes waiting to be taken by a child's stdin. Past this: 503 with `Retry-After`.
pub const CHILD_BACKLOG_BYTES_MAX: usize = 32 * 1024 * 1024;
/// After its stdin was closed, until a child is sent SIGTERM.
pub const CHILD_EOF_GRACE: Duration = Duration::from_secs(2);
/// After SIGTERM, until a child's process group is sent SIGKILL.
pub const CHILD_TERM_GRACE: Duration = Duration::from_secs(5);
/// How long the one half of a child's end waits for the other: its output after its exit (a grandchild may hold the
/// pipe), or its exit after its output.
pub const CHILD_END_TIMEOUT: Duration = Duration::from_secs(1);
/// A conversation other than a server's first, that no session uses. Past this it is ended.
pub const CONVERSATION_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The first list of a session with capabilities not met before, for servers known to be healthy.
/// Past this it is answered with what is known.
pub const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(10);

// ── process ──────────────────────────────────────────────────────────────────────────────────────

/// Worker threads.
pub const WORKERS_MAX: usize = 64;
/// Parcels waiting for one worker. Past this a request is refused and an announcement is dropped.
pub const INBOX_PARCELS_MAX: usize = 4096;
/// What is in flight when SIGTERM comes. Past this it is cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a configuration file. Past this it is refused.
pub const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Tables and lists inside each other in a configuration file. Past this it is refused.
pub const CONFIG_DEPTH_MAX: usize = 32;
/// Values in a YAML file, those that aliases repeat included. Past this it is refused.
pub const CONFIG_NODES_MAX: usize = 200_000;
/// Problems of a configuration that are shown. The others are counted.
pub const CONFIG_PROBLEMS_SHOWN: usize = 100;
/// Bytes of a file that a configuration takes a value from. Past this it is refused.
pub const SECRET_FILE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an API key. Past this the configuration is refused, since no request could carry it.
pub const KEY_BYTES_MAX: usize = 4096;
/// What may be set for one server as its connections. Past this the configuration is refused.
pub const SERVER_CONNECTIONS_MAX: usize = 4096;

// ── telemetry ────────────────────────────────────────────────────────────────────────────────────

/// Lines waiting to be written to stderr and the access log. Past this lines are dropped, and counted.
pub const LOG_LINES_MAX: usize = 1024;
/// Bytes of one value in a log line. Past this it is cut and ends in `…`.
pub const LOG_VALUE_BYTES_MAX: usize = 2048;
/// Bytes that an environment value or header needs for being taken out of logs, `/status` and causes told to
/// clients. Shorter ones (`UTC`, `1`, `info`) are words of every day, and hiding them would only make lines
/// unreadable.
pub const REDACTED_BYTES_MIN: usize = 8;
/// How long exit waits for the last lines to be taken by stderr. Past this they are lost.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of one kind of warning or error that one thread writes in one second. Past this they are held
/// back, and the next line of that kind says how many.
pub const LOG_REPEATS_MAX: u32 = 10;
/// Tools, and likewise servers, that have metrics of their own. Past this they are counted as `other`.
pub const METRIC_NAMES_MAX: usize = 1000;

const _: () = assert!(CATALOG_IDLE_TIMEOUT.as_secs() >= 2 * CONVERSATION_IDLE_TIMEOUT.as_secs());
const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX as u64 <= CONTENT_LENGTH_MAX);
const _: () = assert!(KEY_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(POOL_CONNECTIONS <= SERVER_CONNECTIONS_MAX);
const _: () = assert!(CHILDREN_MAX <= SERVER_CONNECTIONS_MAX);
const _: () = assert!(HEAD_BYTES_MAX <= PIPELINE_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= LINE_BYTES_MAX);
const _: () = assert!(WORKERS_MAX <= LANES_MAX && LANES_MAX <= LANES_HTTP_MAX);
const _: () = assert!(SESSION_EXCHANGES_MAX <= EXCHANGES_MAX);
const _: () =
    assert!(LISTENS_OF_ONE_MAX <= LISTENS_MAX && LISTENS_OF_ONE_MAX <= EXCHANGES_MAX / 16);
const _: () = assert!(2 * SUBSCRIPTIONS_MAX <= LISTENED_OF_ONE_MAX);
const _: () = assert!(BATCH_MESSAGES_MAX <= SESSION_EXCHANGES_MAX);
const _: () = assert!(ANSWER_BYTES_MAX <= BATCH_ANSWER_BYTES_MAX);
const _: () = assert!(ANSWER_BYTES_MAX <= PARKED_ANSWERS_BYTES_MAX);
const _: () = assert!(BATCH_ANSWER_BYTES_MAX < ANSWERS_BACKLOG_BYTES_MAX);
const _: () = assert!(
    HEAD_TIMEOUT.as_secs() <= 15
        && BODY_IDLE_TIMEOUT.as_secs() <= 15
        && WRITE_TIMEOUT.as_secs() <= 15
        && TAKE_TIMEOUT.as_secs() < 15
);
const _: () = assert!(STREAM_RETRY_MIN.as_millis() <= STREAM_RETRY.as_millis());
const _: () = assert!(STREAM_RETRY.as_millis() <= STREAM_RETRY_MAX.as_millis());
const _: () = assert!(STDERR_LINE_BYTES_MAX <= STDERR_BYTES_MAX);
