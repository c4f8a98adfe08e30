//! `system_info`: what machine this is and how busy it is.

use super::{Arguments, Tool, object};
use rustix::system::{sysinfo, uname};
use serde_json::{Value, json};

pub(super) const TOOL: Tool = Tool {
    name: "system_info",
    title: "System information",
    description: "Host name, kernel, uptime, processors, memory and load of the machine that runs this server.",
    input: || (json!({}), &[]),
    output: || {
        let memory = object(
            json!({
                "total_bytes": {"type": "integer"},
                "available_bytes": {"type": "integer"},
                "swap_total_bytes": {"type": "integer"},
                "swap_free_bytes": {"type": "integer"},
            }),
            &["total_bytes", "available_bytes"],
        );
        let load = json!({"type": "array", "items": {"type": "number"}, "description": "Over 1, 5 and 15 minutes"});
        let properties = json!({
            "hostname": {"type": "string"},
            "system": {"type": "string"},
            "kernel": {"type": "string"},
            "architecture": {"type": "string"},
            "uptime_seconds": {"type": "integer"},
            "processors": {"type": "integer", "description": "That this process may use"},
            "processes": {"type": "integer"},
            "memory": memory,
            "load": load,
        });
        let required = [
            "hostname",
            "kernel",
            "architecture",
            "uptime_seconds",
            "processors",
            "memory",
            "load",
        ];
        object(properties, &required)
    },
    call,
};

fn call(_: &Arguments) -> Result<Value, String> {
    let (name, state) = (uname(), sysinfo());
    let unit = u64::from(state.mem_unit.max(1));
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = available(&meminfo).unwrap_or(bytes(state.freeram, unit));
    // The kernel counts load in units of 2^-16, sysinfo(2).
    let load = state
        .loads
        .map(|load| (load as f64 / 65_536.0 * 100.0).round() / 100.0);
    Ok(json!({
        "hostname": name.nodename().to_string_lossy(),
        "system": name.sysname().to_string_lossy(),
        "kernel": name.release().to_string_lossy(),
        "architecture": name.machine().to_string_lossy(),
        "uptime_seconds": state.uptime,
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "processes": state.procs,
        "memory": {
            "total_bytes": bytes(state.totalram, unit),
            "available_bytes": available,
            "swap_total_bytes": bytes(state.totalswap, unit),
            "swap_free_bytes": bytes(state.freeswap, unit),
        },
        "load": load,
    }))
}

/// The kernel's `long` is of another size on small machines.
fn bytes(amount: impl TryInto<u64>, unit: u64) -> u64 {
    amount.try_into().unwrap_or(u64::MAX).saturating_mul(unit)
}

/// `MemAvailable` of `/proc/meminfo`, in bytes: what could be had without swapping.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_found() {
        let meminfo = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(meminfo), Some(2048 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
