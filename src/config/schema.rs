//! Every key a configuration file may hold, table by table.
//!
//! Three states: read; later (a known feature of other products or of later versions, refused so that
//! nobody believes it is on); and passed over (a key of clients' own files that means nothing to a
//! gateway, noted). Everything else is unknown and refused.

/// One table of the file.
#[derive(Debug)]
pub struct Section {
    /// As messages call it.
    pub name: &'static str,
    /// Keys that are read.
    pub read: &'static [Field],
    /// Keys of features that this version does not have.
    pub later: &'static [&'static str],
    /// Keys that are passed over with a note.
    pub passed_over: &'static [&'static str],
}

/// A key that is read.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Other spellings of it.
    pub aliases: &'static [&'static str],
}

const fn field(name: &'static str) -> Field {
    Field { name, aliases: &[] }
}

const fn alias(name: &'static str, aliases: &'static [&'static str]) -> Field {
    Field { name, aliases }
}

/// The file itself.
pub static ROOT: Section = Section {
    name: "the file",
    read: &[
        field("listen"),
        field("host"),
        field("port"),
        field("names"),
        field("wait_for_servers"),
        field("workers"),
        field("drain"),
        field("hosts"),
        field("origins"),
        field("http_sse"),
        alias("auth", &["authentication"]),
        alias("api_keys", &["apiKeys"]),
        field("api_keys_env"),
        field("api_keys_file"),
        alias("log", &["logging"]),
        field("metrics"),
        field("proxy"),
        field("version"),
        field("servers"),
        field("mcpServers"),
        field("$schema"),
    ],
    later: &[
        "admin",
        "audit",
        "backends",
        "balance",
        "breaker",
        "cache",
        "chat",
        "circuit_breaker",
        "context_optimization",
        "environments",
        "features",
        "guard",
        "health",
        "include",
        "inputs",
        "jwt",
        "limits",
        "load_balancer",
        "oauth",
        "plugins",
        "profiles",
        "rate_limit",
        "rate_limits",
        "redis",
        "sandbox",
        "secrets",
        "sentry",
        "session_store",
        "tls",
        "webhooks",
    ],
    passed_over: &["globalShortcut", "mcpServersDisabled", "preferences"],
};

/// `[auth]`.
pub static AUTH: Section = Section {
    name: "auth",
    read: &[
        alias("keys", &["api_keys", "apiKeys"]),
        alias("keys_env", &["api_keys_env"]),
        alias("keys_file", &["api_keys_file"]),
        field("allow_unauthenticated"),
    ],
    later: &[
        "audience",
        "client_id",
        "client_secret",
        "enabled",
        "issuer",
        "jwks",
        "jwt",
        "oauth",
        "rate_limit",
        "scopes",
        "tags",
        "type",
    ],
    passed_over: &[],
};

/// `[log]`.
pub static LOG: Section = Section {
    name: "log",
    read: &[field("level"), field("format"), field("access")],
    later: &[
        "audit",
        "correlation",
        "file",
        "max_backups",
        "max_size_mb",
        "outputs",
        "sampling",
    ],
    passed_over: &[],
};

/// `[metrics]`.
pub static METRICS: Section = Section {
    name: "metrics",
    read: &[
        field("enabled"),
        field("listen"),
        field("port"),
        field("path"),
    ],
    later: &["aliases", "buckets", "push"],
    passed_over: &[],
};

/// `proxy` of Only1MCP's files.
pub static PROXY: Section = Section {
    name: "proxy",
    read: &[field("host"), field("port")],
    later: &[
        "cache",
        "health",
        "load_balancer",
        "tls",
        "circuit_breaker",
        "rate_limit",
        "timeout",
    ],
    passed_over: &[],
};

/// One server.
pub static SERVER: Section = Section {
    name: "a server",
    read: &[
        field("command"),
        field("args"),
        field("env"),
        field("cwd"),
        alias("url", &["serverUrl", "httpUrl"]),
        field("headers"),
        field("auth"),
        alias("transport", &["type"]),
        field("enabled"),
        field("disabled"),
        field("tags"),
        field("tools"),
        field("prompts"),
        field("resources"),
        alias("include_tools", &["includeTools", "enabledTools"]),
        alias("exclude_tools", &["excludeTools", "disabledTools"]),
        field("rename"),
        field("timeout"),
        field("timeout_ms"),
        field("connections"),
        field("share"),
        field("era"),
        field("required"),
        field("name"),
        field("id"),
    ],
    later: &[
        "breaker",
        "cache",
        "circuit_breaker",
        "depends_on",
        "envFile",
        "env_file",
        "fallback",
        "fallback_on_error",
        "headersHelper",
        "health",
        "health_check",
        "health_check_url",
        "limits",
        "oauth",
        "pool",
        "priority",
        "rate_limit",
        "rate_limits",
        "restart",
        "retries",
        "sandbox",
        "tls",
        "watch",
        "weight",
    ],
    passed_over: &[
        "$comment",
        "_comment",
        "alwaysAllow",
        "autoApprove",
        "description",
        "gallery",
        "icon",
        "title",
        "trust",
    ],
};

/// `auth` of a server.
pub static SERVER_AUTH: Section = Section {
    name: "auth of a server",
    read: &[
        field("type"),
        field("token"),
        field("token_env"),
        field("token_file"),
    ],
    later: &[
        "audience",
        "client_id",
        "client_secret",
        "issuer",
        "oauth",
        "scopes",
    ],
    passed_over: &[],
};

/// `tools`, `prompts` and `resources` of a server.
pub static FILTER: Section = Section {
    name: "a filter",
    read: &[field("allow"), field("deny")],
    later: &[],
    passed_over: &[],
};

/// All tables, for whoever must know every key.
pub static SECTIONS: &[&Section] = &[
    &ROOT,
    &AUTH,
    &LOG,
    &METRICS,
    &PROXY,
    &SERVER,
    &SERVER_AUTH,
    &FILTER,
];

impl Section {
    /// The name of the key that `spelling` stands for.
    pub fn find(&self, spelling: &str) -> Option<&'static str> {
        self.read
            .iter()
            .find(|field| field.name == spelling || field.aliases.contains(&spelling))
            .map(|field| field.name)
    }

    /// Whether the key is read or passed over.
    pub fn knows(&self, key: &str) -> bool {
        self.find(key).is_some() || self.passed_over.contains(&key)
    }

    /// Every spelling that is read.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        self.read
            .iter()
            .flat_map(|field| std::iter::once(field.name).chain(field.aliases.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_states() {
        for section in SECTIONS {
            let mut all: Vec<&str> = section
                .spellings()
                .chain(section.later.iter().copied())
                .chain(section.passed_over.iter().copied())
                .collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{}", section.name);
        }
    }
}
