//! `network_interfaces`: addresses, state and counters of the machine's network interfaces.

use super::{Arguments, Tool, netlink, object, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const INTERFACES: &str = "/sys/class/net";
const COUNTERS: &[&str] = &["bytes", "packets", "errors", "dropped"];

pub(super) const TOOL: Tool = Tool {
    name: "network_interfaces",
    title: "Network interfaces",
    description: "Name, state, addresses, MAC, MTU and traffic counters of the network interfaces of the machine that runs this server.",
    input: || {
        let name = json!({"type": "string", "description": "One interface, such as eth0; all of them without it"});
        (json!({"name": name}), &[])
    },
    output: || {
        let address = object(
            json!({
                "address": {"type": "string"},
                "family": {"type": "string", "description": "ipv4 or ipv6"},
                "prefix_bits": {"type": "integer"},
            }),
            &["address", "family", "prefix_bits"],
        );
        let counters = || {
            let properties: Value = COUNTERS
                .iter()
                .map(|name| (*name, json!({"type": "integer"})))
                .collect();
            object(properties, COUNTERS)
        };
        let interface = object(
            json!({
                "name": {"type": "string"},
                "index": {"type": "integer"},
                "state": {"type": "string", "description": "As of RFC 2863: up, down, unknown, dormant, …"},
                "mac": {"type": ["string", "null"]},
                "mtu": {"type": "integer"},
                "addresses": {"type": "array", "items": address},
                "received": counters(),
                "sent": counters(),
            }),
            &[
                "name",
                "index",
                "state",
                "mac",
                "mtu",
                "addresses",
                "received",
                "sent",
            ],
        );
        object(
            json!({"interfaces": {"type": "array", "items": interface}}),
            &["interfaces"],
        )
    },
    call,
};

fn call(arguments: &Arguments) -> Result<Value, String> {
    let wanted = text(arguments, "name")?;
    let addresses = netlink::addresses().map_err(|error| format!("addresses: {error}"))?;
    let mut names: Vec<String> = fs::read_dir(INTERFACES)
        .map_err(|error| format!("{INTERFACES}: {error}"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| wanted.is_none_or(|wanted| wanted == name))
        .collect();
    names.sort();
    if let (Some(wanted), true) = (wanted, names.is_empty()) {
        return Err(format!("there is no interface {wanted:?}"));
    }
    let interfaces: Vec<Value> = names
        .iter()
        .filter_map(|name| interface(name, &addresses))
        .collect();
    Ok(json!({"interfaces": interfaces}))
}

/// What is known of one interface; `None` if it went away meanwhile, or is no interface.
fn interface(name: &str, addresses: &[netlink::Address]) -> Option<Value> {
    let directory = Path::new(INTERFACES).join(name);
    let read = |file: &str| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        Some(text.trim().to_string())
    };
    let number = |file: &str| read(file)?.parse::<u64>().ok();
    let index = number("ifindex")?;
    let mac = read("address").filter(|mac| mac.bytes().any(|b| !matches!(b, b'0' | b':')));
    let own: Vec<Value> = addresses
        .iter()
        .filter(|address| u64::from(address.interface) == index)
        .map(|address| {
            json!({
                "address": address.ip.to_string(),
                "family": if address.ip.is_ipv4() { "ipv4" } else { "ipv6" },
                "prefix_bits": address.prefix_bits,
            })
        })
        .collect();
    let counters = |direction: &str| -> Value {
        COUNTERS
            .iter()
            .map(|name| {
                let count = number(&format!("statistics/{direction}_{name}")).unwrap_or(0);
                (*name, Value::from(count))
            })
            .collect()
    };
    Some(json!({
        "name": name,
        "index": index,
        "state": read("operstate").unwrap_or_else(|| "unknown".into()),
        "mac": mac,
        "mtu": number("mtu").unwrap_or(0),
        "addresses": own,
        "received": counters("rx"),
        "sent": counters("tx"),
    }))
}
