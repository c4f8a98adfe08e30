//! A server's configuration as one number: equal if and only if nothing about it changed.

use super::{Filter, Server, Speaks, Transport};
use sha2::{Digest, Sha256};

/// SHA-256 of everything that is configured for a server, its secrets included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Server {
    /// The fingerprint of this configuration. Stable within one version of switchbox.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sum = Sum(Sha256::new());
        sum.text(&self.name);
        sum.number(u64::from(self.enabled));
        sum.texts(self.tags.iter());
        match &self.transport {
            Transport::Stdio(command) => {
                sum.text("stdio");
                sum.text(&command.program);
                sum.texts(command.args.iter());
                sum.number(command.env.len() as u64);
                for (name, value) in &command.env {
                    sum.text(name);
                    sum.text(value.expose());
                }
                let cwd = command
                    .cwd
                    .as_ref()
                    .map(|cwd| cwd.as_os_str().as_encoded_bytes());
                sum.texts(cwd.iter());
            }
            Transport::Http(http) => {
                sum.text("http");
                // What it was found to speak is not configured.
                sum.number(u64::from(http.speaks == Speaks::Sse));
                sum.number(http.scheme as u64);
                sum.text(&http.host);
                sum.number(u64::from(http.port));
                sum.text(&http.path);
                sum.number(http.headers.len() as u64);
                for (name, value) in &http.headers {
                    sum.text(name);
                    sum.text(value.expose());
                }
            }
        }
        for filter in [&self.tools, &self.prompts, &self.resources] {
            let Filter { allow, deny } = filter;
            sum.texts(allow.iter().map(|glob| &glob.0));
            sum.texts(deny.iter().map(|glob| &glob.0));
        }
        sum.number(self.rename.len() as u64);
        for (from, to) in &self.rename {
            sum.text(from);
            sum.text(to);
        }
        sum.number(u64::try_from(self.timeout.as_micros()).unwrap_or(u64::MAX));
        sum.number(self.connections as u64);
        sum.number(self.share as u64);
        sum.number(self.era as u64);
        sum.number(u64::from(self.required));
        Fingerprint(sum.0.finalize().into())
    }
}

/// A running sum in which no two sequences of parts look alike: each part has its length before it.
struct Sum(Sha256);

impl Sum {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn text(&mut self, text: impl AsRef<[u8]>) {
        self.number(text.as_ref().len() as u64);
        self.0.update(text.as_ref());
    }

    fn texts(&mut self, texts: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }
}
