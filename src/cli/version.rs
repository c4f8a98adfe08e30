//! `switchbox version`: what this binary is, in a form to paste into a report.

use crate::mcp::revision::Revision;

/// Five lines: version, commit, target, features, protocol revisions.
pub fn text() -> String {
    let features: &[&str] = if cfg!(any(feature = "mimalloc", target_env = "musl")) {
        &["mimalloc"]
    } else {
        &["none"]
    };
    let revisions: Vec<&str> = Revision::ALL
        .iter()
        .map(|revision| revision.name())
        .collect();
    format!(
        "switchbox {}\ncommit:    {}\ntarget:    {}\nfeatures:  {}\nprotocol:  {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("BUILD_COMMIT"),
        env!("BUILD_TARGET"),
        features.join(" "),
        revisions.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_tells_all_that_a_report_needs() {
        let text = text();
        for part in [
            env!("CARGO_PKG_VERSION"),
            "commit: ",
            "target: ",
            "features: ",
            "2024-11-05 2025-03-26 2025-06-18 2025-11-25",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
