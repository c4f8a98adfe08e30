//! How legacy clients send what they have to say: on a connection that is free, on a new one, or behind another
//! request.

use crate::client::{Connection, Want};
use crate::reader::Reader;
use crate::spec::KEYS;
use crate::world::{Peer, Place, World};
use serde_json::Value;
use std::collections::VecDeque;

impl World {
    pub(crate) fn add_connection(&mut self, c: usize, place: Place) -> u32 {
        let client = &mut self.clients[c];
        let number = client.next_connection;
        client.next_connection += 1;
        let connection = Connection {
            place,
            reader: Reader::default(),
            wants: VecDeque::new(),
            prompt: true,
            last_response: false,
            last_event: None,
        };
        client.connections.insert(number, connection);
        number
    }

    pub(crate) fn post_message(&mut self, c: usize, message: &Value, want: Want) {
        if self.clients[c].sse.is_some() {
            return self.post_to_endpoint(c, message, want);
        }
        if !self.clients[c].stdio {
            self.http(c, "POST", "/mcp", "", Some(message), want);
            return;
        }
        let asked = self.asked_of(c, want);
        let Some(connection) = self.clients[c].connections.get_mut(&0) else {
            return;
        };
        connection.wants.extend(asked.into_iter().map(Want::Asked));
        let place = connection.place;
        self.send(place, format!("{message}\n").as_bytes());
    }

    /// Sends an HTTP request, on a connection that is free, on a new one, or behind another request.
    pub(crate) fn http(
        &mut self,
        c: usize,
        method: &str,
        path: &str,
        fields: &str,
        body: Option<&Value>,
        want: Want,
    ) -> u32 {
        // What a response waits for cannot come behind it.
        let pipelines = body.is_some() && want != Want::Taken && self.chance.one_in(12);
        let client = &self.clients[c];
        let usable = client.connections.iter().filter(|(_, connection)| {
            let busy = connection.wants.len();
            let streams = |w: &Want| matches!(w, Want::Standing(_) | Want::Rest(_) | Want::Front);
            !connection.last_response
                && (busy == 0 || (pipelines && busy < 3 && !connection.wants.iter().any(streams)))
        });
        let usable: Vec<u32> = usable.map(|(number, _)| *number).collect();
        let number = match usable.is_empty() || self.chance.one_in(5) {
            true => {
                let worker = self.chance.below(self.workers.len());
                let number = self.clients[c].next_connection;
                let place = self.accept(worker, Peer::Client(c, number));
                self.add_connection(c, place)
            }
            false => *self.chance.pick(&usable),
        };
        let client = &self.clients[c];
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:3050\r\n{fields}");
        if let Some(key) = client.key {
            head += &format!("Authorization: Bearer {}\r\n", KEYS[key]);
        }
        if let Some(session) = client.session.as_ref().filter(|_| client.sse.is_none()) {
            head += &format!("Mcp-Session-Id: {session}\r\n");
            if client.revision.has_version_header() {
                head += &format!("Mcp-Protocol-Version: {}\r\n", client.revision.name());
            }
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if method == "POST" {
            head +=
                "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
        } else {
            head += "Accept: text/event-stream\r\n";
        }
        if !body.is_empty() && self.chance.one_in(6) {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            head += &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        } else {
            head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        }
        let connection = self.clients[c]
            .connections
            .get_mut(&number)
            .expect("it was chosen or opened");
        if !connection.wants.is_empty() {
            *self.cover.entry("request sent ahead").or_default() += 1;
        }
        connection.wants.push_back(want);
        let place = connection.place;
        self.send(place, head.as_bytes());
        number
    }
}
