//! Build systems whose build directories are understood: which of their files another tree has use for, and which of
//! these are never rewritten in place.

use std::path::Path;

/// A build system whose build directory is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildSystem {
    /// Rust's.
    Cargo,
}

/// How a file of a build directory gets into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// It is only ever replaced as a whole, so two directories may have the same file.
    Share,
    /// It is, or may be, rewritten in place.
    Copy,
    /// It is of no use to another tree.
    Leave,
}

impl BuildSystem {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Cargo];

    /// The build system of the project in `dir`.
    pub fn detect(dir: &Path) -> Option<Self> {
        let is_file = |name: &str| std::fs::symlink_metadata(dir.join(name)).is_ok_and(|found| found.is_file());
        Self::ALL.into_iter().find(|system| is_file(system.manifest()))
    }

    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.toml",
        }
    }

    /// The build directory in a project's. Git ignores it, so a tree that is reset keeps it.
    pub fn build_dir(self) -> &'static str {
        match self {
            Self::Cargo => "target",
        }
    }

    /// The variable that moves the build directory.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Cargo => "CARGO_TARGET_DIR",
        }
    }

    /// The file that tells what the build directory was built from.
    pub(crate) fn lock_file(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo.lock",
        }
    }

    /// Files, one in each directory of a profile, that are locked while something builds there.
    pub(crate) fn is_build_lock(self, name: &str) -> bool {
        match self {
            Self::Cargo => name == ".cargo-lock",
        }
    }

    pub(crate) fn transfer(self, path: &[&str]) -> Transfer {
        match self {
            Self::Cargo => cargo_transfer(path),
        }
    }
}

/// Measured on what cargo and rustc do when they build again: libraries, objects and programs are written under another
/// name and renamed, or removed before they are linked anew. Everything else may be truncated and written again.
fn cargo_transfer(path: &[&str]) -> Transfer {
    let Some((name, dirs)) = path.split_last() else { return Transfer::Leave };
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let in_dir = |at: usize| dirs.len().checked_sub(at).and_then(|index| dirs.get(index)).copied();
    match () {
        // The compiler's own cache of one crate: large, of use only to who edits that very crate, and locked in place.
        () if dirs.contains(&"incremental") => Transfer::Leave,
        // Documentation, packages, scratch directories of tests.
        () if matches!(dirs.first(), Some(&"doc" | &"package" | &"tmp")) => Transfer::Leave,
        () if dirs.contains(&".fingerprint") => Transfer::Copy,
        () if in_dir(2) == Some("build") && extension.is_none() && name.starts_with("build") => Transfer::Share,
        () if dirs.contains(&"build") => Transfer::Copy,
        () if in_dir(1) == Some("deps") => match extension {
            Some("rlib" | "rmeta" | "so" | "dylib" | "o") => Transfer::Share,
            None if is_program(name) => Transfer::Share,
            _ => Transfer::Copy,
        },
        () if dirs.is_empty() && matches!(*name, ".rustc_info.json" | "CACHEDIR.TAG") => Transfer::Copy,
        // What a profile's directory shows beside these are links into `deps`, which cargo makes itself.
        () => Transfer::Leave,
    }
}

/// Whether the name is one of a linked program: `name-<hash>`.
fn is_program(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(paths: &str, expected: Expect) {
        let said = paths.lines().map(|path| {
            let parts: Vec<&str> = path.trim().split('/').collect();
            format!("{:?} {}\n", cargo_transfer(&parts), path.trim())
        });
        expected.assert_eq(&said.collect::<String>());
    }

    #[test]
    fn only_what_cargo_never_rewrites_in_place_is_shared() {
        check(
            "debug/deps/libserde-0123456789abcdef.rlib
            debug/deps/libserde-0123456789abcdef.rmeta
            debug/deps/libderive-0123456789abcdef.so
            debug/deps/serde-0123456789abcdef.d
            debug/deps/program-0123456789abcdef
            debug/deps/program
            debug/build/ring-0123456789abcdef/build-script-build
            debug/build/ring-0123456789abcdef/build_script_build-0123456789abcdef
            debug/build/ring-0123456789abcdef/build_script_build-0123456789abcdef.d
            debug/build/ring-0123456789abcdef/out/build
            debug/build/ring-0123456789abcdef/out/deps/libring.so
            debug/build/ring-0123456789abcdef/output
            debug/.fingerprint/serde-0123456789abcdef/lib-serde
            debug/incremental/program-1/s-2/query-cache.bin
            debug/program
            debug/.cargo-lock
            x86_64-unknown-linux-gnu/release/deps/libserde-0123456789abcdef.rlib
            doc/deps/libserde-0123456789abcdef.rlib
            .rustc_info.json
            CACHEDIR.TAG
            notes.txt",
            expect![[""]],
        );
    }
}
