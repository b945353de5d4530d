//! A checkpoint holds what `git add -A` would: tried on changes made at random.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::support::{Bench, raw};

/// Names that collide, nest and hide in each other.
const NAMES: [&str; 9] = ["README", "src", "src/a.txt", "src/b.txt/x", "src/b.txt", "d", "d/e", "d/e/f", "x.log"];

#[derive(Clone, Debug)]
enum Change {
    Write(usize, u8),
    Link(usize, usize),
    Remove(usize),
    Mode(usize),
    Ignore(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (name.clone(), any::<u8>()).prop_map(|(name, byte)| Change::Write(name, byte)),
        1 => (name.clone(), name.clone()).prop_map(|(name, to)| Change::Link(name, to)),
        2 => name.clone().prop_map(Change::Remove),
        1 => name.clone().prop_map(Change::Mode),
        1 => name.prop_map(Change::Ignore),
    ]
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Makes room for `dir/name`: whatever is in the way goes.
fn clear(dir: &Path, name: &str) {
    let mut at = dir.to_owned();
    for part in Path::new(name).parent().unwrap() {
        at.push(part);
        if !at.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            remove(&at);
            std::fs::create_dir(&at).unwrap();
        }
    }
    remove(&dir.join(name));
}

fn make(dir: &Path, change: &Change) {
    match *change {
        Change::Write(name, byte) => {
            clear(dir, NAMES[name]);
            std::fs::write(dir.join(NAMES[name]), [byte, b'\n']).unwrap();
        }
        Change::Link(name, to) => {
            clear(dir, NAMES[name]);
            symlink(NAMES[to], dir.join(NAMES[name])).unwrap();
        }
        Change::Remove(name) => {
            let parent = dir.join(NAMES[name]);
            if parent.parent().unwrap().symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                remove(&parent);
            }
        }
        Change::Mode(name) => {
            let path = dir.join(NAMES[name]);
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        Change::Ignore(name) => std::fs::write(dir.join(".gitignore"), format!("/{}\n", NAMES[name])).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_holds_what_git_add_would(rounds in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let dir = bench.ready("b").await;
            for changes in &rounds {
                changes.iter().for_each(|change| make(&dir, change));
                let point = bench.checkpoint("b", &["**"]).await;
                // The same files, as the agent's own git takes them in.
                raw(&dir, &["reset", "-q", &bench.base]);
                raw(&dir, &["add", "-A"]);
                assert_eq!(raw(&dir, &["write-tree"]), point.tree, "{changes:?}");
                let begun = bench.trees.begin("b", &bench.base).await.unwrap();
                assert_eq!(begun.rescued.is_some(), point.tree != bench.at(&format!("{}^{{tree}}", bench.base)));
                assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
            }
        });
    }
}
