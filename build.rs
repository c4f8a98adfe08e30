//! Tells the compiler which commit and target this is, for `switchbox --version`, and the linker to pack what
//! the loader has to add to every address.
//!
//! Never fails: without git, or inside somebody else's repository, the commit is `unknown`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    // Not under our own prefix: `cargo run` hands these on, and the program would find settings without a meaning.
    println!("cargo::rustc-env=BUILD_TARGET={target}");
    println!(
        "cargo::rustc-env=BUILD_COMMIT={}",
        commit().unwrap_or_else(|| "unknown".into())
    );
    if loader_unpacks(&target) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the loader of `target` understands packed relative relocations: the GNU C library does from 2.36 on.
///
/// A position-independent binary has thousands of them, all of which are read at every start: unpacked they are
/// 136 KiB of the file, and as much of the memory. Linkers that do not know the option pass over it. Only where
/// the binary is made for the kind of machine that makes it: others may have an older library.
fn loader_unpacks(target: &str) -> bool {
    let native = std::env::var("HOST").is_ok_and(|host| host == target);
    let version = native && target.ends_with("-linux-gnu");
    let version = version.then(|| output(Command::new("getconf").arg("GNU_LIBC_VERSION")));
    let version = version.flatten().and_then(|text| {
        let (major, minor) = text.strip_prefix("glibc ")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    version.is_some_and(|version| version >= (2, 36))
}

/// The commit of the repository whose root this package is.
fn commit() -> Option<String> {
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&root).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

/// What `command` prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}
