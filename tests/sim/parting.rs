//! How clients go wrong, and how they go away.

use crate::caller::End;
use crate::client::{Deed, Want, What};
use crate::server::owner;
use crate::world::{Action, World};
use serde_json::json;
use std::time::Duration;
use switchbox::worker::effect::Close;

impl World {
    // ── faults ───────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn misbehave(&mut self, c: usize) {
        let all: Vec<u32> = self.clients[c].connections.keys().copied().collect();
        if all.is_empty() || self.clients[c].stdio {
            return;
        }
        let number = *self.chance.pick(&all);
        let place = self.clients[c].connections[&number].place;
        match self.chance.below(3) {
            0 => {
                self.count("client reads slowly");
                let length = match self.chance.one_in(4) {
                    true => Duration::from_secs(12),
                    false => self.chance.millis(1500),
                };
                self.stall(place, length);
                if let Some(connection) = self.clients[c].connections.get_mut(&number) {
                    connection.prompt = false;
                }
            }
            _ => {
                self.count("client's connection broke");
                self.reset(place);
                self.lose(c, number);
            }
        }
    }

    /// A connection is gone: what it was for is lost, unless it can be asked for again.
    pub(crate) fn lose(&mut self, c: usize, number: u32) {
        let Some(connection) = self.clients[c].connections.remove(&number) else {
            return;
        };
        if self.is_front(c, number) {
            self.front_lost(c);
        }
        let life = self.clients[c].life;
        if self.clients[c].standing == Some(number) {
            self.clients[c].standing = None;
            let delay = self.chance.millis(1500);
            self.after(delay, Action::Client(c, Deed::Stand(life)));
        }
        for want in connection.wants {
            match want {
                Want::Asked(ask) | Want::Rest(ask) => {
                    let owner = self.owner_of(c);
                    let client = &mut self.clients[c];
                    let asked = &mut client.asked[ask];
                    if asked.what == What::Initialize {
                        client.opening = false;
                    }
                    if asked.shown_on.is_some_and(|shown_on| shown_on != number) {
                        continue;
                    }
                    asked.lost = true;
                    if asked.last.is_some() && self::owner(&asked.tag) == owner {
                        let delay = self.chance.millis(1500);
                        self.after(delay, Action::Client(c, Deed::Resume(ask, life)));
                    }
                }
                Want::Batch(batch) | Want::Posted(batch) => self.batch_lost(c, batch),
                _ => {}
            }
        }
    }

    /// The gateway closed a connection.
    pub(crate) fn client_cut_off(&mut self, c: usize, number: u32, how: Close) {
        let Some(connection) = self.clients[c].connections.get(&number) else {
            return;
        };
        let waits = connection
            .wants
            .iter()
            .any(|want| !matches!(want, Want::Standing(_)));
        let lawful = !waits || !connection.prompt || connection.last_response || self.draining;
        assert!(
            lawful,
            "c{c} was cut off ({how:?}) while it waited for {:?}",
            connection.wants
        );
        if !connection.prompt && how == Close::Reset {
            self.count("slow reader cut off");
        }
        self.lose(c, number);
    }

    // ── going away ───────────────────────────────────────────────────────────────────────────────────

    /// A client goes away without a word.
    pub(crate) fn vanish(&mut self, c: usize) {
        let all: Vec<u32> = self.clients[c].connections.keys().copied().collect();
        self.clients[c].life += 1;
        self.clients[c].session = None;
        for number in all {
            let place = self.clients[c].connections[&number].place;
            self.lose(c, number);
            match self.chance.one_in(2) || self.clients[c].stdio {
                true => self.end(place, None),
                false => self.reset(place),
            }
        }
    }

    /// Ends a session, if there is one.
    pub(crate) fn farewell(&mut self, c: usize) {
        if self.clients[c].session.is_some() {
            self.leave(c);
        }
    }

    // ── modern clients ───────────────────────────────────────────────────────────────────────────

    pub(crate) fn read_slowly(&mut self, c: usize) {
        let all: Vec<u32> = self.callers[c].lines.keys().copied().collect();
        if all.is_empty() || self.callers[c].stdio {
            return;
        }
        let number = *self.chance.pick(&all);
        let length = match self.chance.one_in(4) {
            true => Duration::from_secs(12),
            false => self.chance.millis(1500),
        };
        if let Some(line) = self.callers[c].lines.get_mut(&number) {
            line.prompt = false;
            let place = line.place;
            self.stall(place, length);
        }
    }

    /// Wants a request no more: over HTTP, hanging up says so.
    pub(crate) fn hang_up(&mut self, c: usize, request: usize) {
        let own = &self.callers[c].requests[request];
        if own.answered || own.lost {
            return;
        }
        let (id, tag) = (own.id, self.callers[c].quests[own.quest].tag.clone());
        self.count("modern client cancelled");
        self.cancelled.insert(tag);
        self.let_go(c, request);
        if self.callers[c].stdio {
            let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": {"requestId": id}});
            if let Some(line) = self.callers[c].lines.get(&0) {
                self.send(line.place, format!("{told}\n").as_bytes());
            }
            return;
        }
        let mut lines = self.callers[c].lines.iter();
        let carries = lines.find(|(_, line)| line.wants.front() == Some(&request));
        if let Some(number) = carries.map(|(number, _)| *number) {
            self.drop_line(c, number);
        }
    }

    /// Nobody waits for this request any more.
    pub(crate) fn let_go(&mut self, c: usize, request: usize) {
        let caller = &mut self.callers[c];
        let own = &mut caller.requests[request];
        own.lost = true;
        if !own.answered && !own.unwelcome {
            caller.quests[own.quest].end.get_or_insert(End::Left);
        }
    }

    pub(crate) fn drop_line(&mut self, c: usize, number: u32) {
        let Some(place) = self.callers[c].lines.get(&number).map(|line| line.place) else {
            return;
        };
        self.lose_line(c, number);
        match self.chance.one_in(2) || self.callers[c].stdio {
            true => self.end(place, None),
            false => self.reset(place),
        }
    }

    pub(crate) fn lose_line(&mut self, c: usize, number: u32) {
        if let Some(line) = self.callers[c].lines.remove(&number) {
            for request in line.wants {
                self.let_go(c, request);
            }
        }
    }

    /// A modern client goes away without a word.
    pub(crate) fn caller_vanishes(&mut self, c: usize) {
        let all: Vec<u32> = self.callers[c].lines.keys().copied().collect();
        all.into_iter().for_each(|number| self.drop_line(c, number));
    }
}
