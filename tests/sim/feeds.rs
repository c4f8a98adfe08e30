//! Servers that only know the HTTP+SSE transport of 2024-11-05: one stream for each conversation, and an
//! endpoint that it names.

use crate::web::Asked;
use crate::world::World;
use switchbox::http::Method;
use switchbox::http::body::write_chunk;

/// Whether a server is one of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    No,
    /// It is, and the configuration says so.
    Said,
    /// It is, and that has to be found out.
    Unsaid,
}

const QUERY: &str = "session=";

impl World {
    /// A request for such a server.
    pub(crate) fn take_older(&mut self, web: usize, asked: &Asked) {
        let server = self.webs[web].server;
        let faults = self.specs[server].faults;
        match (asked.method, &*asked.path) {
            (Method::Get, "/sse") => self.open_feed(web),
            (Method::Post, "/sse") => {
                self.count("tried the newer way first");
                let status = *self.chance.pick(&[400, 404, 405]);
                self.respond(web, status, None, None);
            }
            (Method::Post, "/messages") => {
                let query = asked.query.as_deref();
                let id = query.and_then(|query| query.strip_prefix(QUERY));
                let brain: usize = id.and_then(|id| id.parse().ok()).expect("an id of ours");
                assert_eq!(
                    self.brains[brain].server, server,
                    "endpoint of another server"
                );
                if self.fault(faults * 8, "HTTP+SSE server forgot its stream") {
                    self.brains[brain].alive = false;
                }
                if !self.brains[brain].alive {
                    return self.respond(web, 404, None, None);
                }
                // Some answer before they say that they took it.
                if self.chance.one_in(2) {
                    self.brain_hears(brain, &asked.message, None);
                    self.respond(web, 202, None, None);
                } else {
                    self.respond(web, 202, None, None);
                    self.brain_hears(brain, &asked.message, None);
                }
            }
            (method, path) => panic!("an older server was asked {method:?} {path}"),
        }
    }

    fn open_feed(&mut self, web: usize) {
        let server = self.webs[web].server;
        let brain = self.new_brain(server, None);
        self.begin_listen(web, brain);
        self.brains[brain].standing = Some(web);
        if self.fault(self.specs[server].faults * 2, "endpoint late") {
            return;
        }
        self.count("endpoint named");
        let mut chunk = Vec::new();
        let event = format!("event: endpoint\ndata: /messages?{QUERY}{brain}\n\n");
        write_chunk(&mut chunk, event.as_bytes());
        let place = self.webs[web].place;
        self.send(place, &chunk);
    }
}
