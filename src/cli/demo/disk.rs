//! `disk_usage`: how full file systems are.

use super::{Arguments, Tool, object, text};
use rustix::fs::{StatVfs, statvfs};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Kinds of file systems that hold files although no device is named as their source.
const KINDS: &[&str] = &["overlay", "zfs", "btrfs", "bcachefs", "virtiofs"];

pub(super) const TOOL: Tool = Tool {
    name: "disk_usage",
    title: "Disk usage",
    description: "Size, used and available bytes of the mounted file systems that hold files, or of the one that holds a path.",
    input: || {
        let path =
            json!({"type": "string", "description": "A path; its file system alone is told"});
        (json!({"path": path}), &[])
    },
    output: || {
        let properties = json!({
            "path": {"type": "string", "description": "Where it is mounted, or the path that was asked for"},
            "source": {"type": "string"},
            "kind": {"type": "string"},
            "total_bytes": {"type": "integer"},
            "used_bytes": {"type": "integer"},
            "available_bytes": {"type": "integer", "description": "For users without privileges"},
            "used_percent": {"type": "number"},
        });
        let required = [
            "path",
            "total_bytes",
            "used_bytes",
            "available_bytes",
            "used_percent",
        ];
        let items = object(properties, &required);
        object(
            json!({"filesystems": {"type": "array", "items": items}}),
            &["filesystems"],
        )
    },
    call,
};

fn call(arguments: &Arguments) -> Result<Value, String> {
    if let Some(path) = text(arguments, "path")? {
        let usage = statvfs(path).map_err(|error| format!("{path}: {error}"))?;
        return Ok(json!({"filesystems": [told(path, &usage)]}));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")
        .map_err(|error| format!("/proc/self/mounts: {error}"))?;
    let mut sources = BTreeSet::new();
    let mut filesystems = Vec::new();
    for mount in mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(Mount::holds_files)
    {
        // The first mount of a device is the one people know it by.
        if !mount.source.starts_with('/') || sources.insert(mount.source.clone()) {
            let Ok(usage) = statvfs(&mount.path) else {
                continue;
            };
            if usage.f_blocks > 0 {
                let mut told = told(&mount.path, &usage);
                told["source"] = mount.source.into();
                told["kind"] = mount.kind.into();
                filesystems.push(told);
            }
        }
    }
    Ok(json!({"filesystems": filesystems}))
}

fn told(path: &str, usage: &StatVfs) -> Value {
    let bytes = |blocks: u64| blocks.saturating_mul(usage.f_frsize);
    let used = usage.f_blocks.saturating_sub(usage.f_bfree);
    // As df(1) has it: what is reserved for root counts neither as used nor as available.
    let usable = used + usage.f_bavail;
    let percent = if usable == 0 {
        0.0
    } else {
        used as f64 * 1000.0 / usable as f64
    };
    json!({
        "path": path,
        "total_bytes": bytes(usage.f_blocks),
        "used_bytes": bytes(used),
        "available_bytes": bytes(usage.f_bavail),
        "used_percent": percent.round() / 10.0,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    source: String,
    path: String,
    kind: String,
}

impl Mount {
    /// A line of `/proc/self/mounts`, see fstab(5).
    fn parse(line: &str) -> Option<Mount> {
        let mut words = line.split(' ').map(unescaped);
        Some(Mount {
            source: words.next()?,
            path: words.next()?,
            kind: words.next()?,
        })
    }

    /// Not those of the network: asking one whose server is gone can take forever.
    fn holds_files(&self) -> bool {
        (self.source.starts_with("/dev/") && self.kind != "devtmpfs")
            || KINDS.contains(&self.kind.as_str())
    }
}

/// Undoes the octal escapes of spaces and the like.
fn unescaped(word: &str) -> String {
    let mut plain = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                rest = &rest[at + 4..];
            }
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let mount = Mount::parse(r"/dev/sda1 /mnt/a\040b\134c ext4 rw 0 0").unwrap();
        assert_eq!(mount.path, r"/mnt/a b\c");
        assert!(mount.holds_files());
        assert!(
            !Mount::parse("proc /proc proc rw 0 0")
                .unwrap()
                .holds_files()
        );
        assert!(
            !Mount::parse("nas:/x /mnt nfs4 rw 0 0")
                .unwrap()
                .holds_files()
        );
        assert!(
            Mount::parse("overlay / overlay rw 0 0")
                .unwrap()
                .holds_files()
        );
        assert_eq!(Mount::parse("short"), None);
    }
}
