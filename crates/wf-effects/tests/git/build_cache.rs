//! Build directories that start from a seed, with files that look like cargo's.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use tempfile::TempDir;
use wf_effects::git::{BuildCache, BuildCacheError, BuildCacheMode, BuildCacheOptions, Harvest, Origin, Start};

use super::support::{names_in, read, write_all};

const LIBRARY: &str = "target/debug/deps/libserde-0123456789abcdef.rlib";
const FINGERPRINT: &str = "target/debug/.fingerprint/serde-0123456789abcdef/lib-serde";

struct Place {
    temp: TempDir,
    cache: BuildCache,
}

impl Place {
    fn new(mode: BuildCacheMode, seed_bytes_max: u64) -> Self {
        let temp = TempDir::new().unwrap();
        let root = temp.path().join("cache");
        let cache = BuildCache::new(BuildCacheOptions { mode, root, seed_bytes_max, checkout: None });
        Self { temp, cache }
    }

    /// The same, of a project with a checkout.
    fn with_checkout(mut self, checkout: &Path) -> Self {
        let (mode, root) = (BuildCacheMode::Seeded, self.temp.path().join("cache"));
        let checkout = Some(checkout.to_owned());
        self.cache = BuildCache::new(BuildCacheOptions { mode, root, seed_bytes_max: 1 << 20, checkout });
        self
    }

    fn seeded() -> Self {
        Self::new(BuildCacheMode::Seeded, 1 << 20)
    }

    fn project(&self, name: &str) -> PathBuf {
        let dir = self.temp.path().join(name);
        write_all(&dir, &[("Cargo.toml", "[package]\n"), ("Cargo.lock", "version = 4\n")]);
        dir
    }

    /// A project in which a build has succeeded.
    fn built(&self, name: &str) -> PathBuf {
        let dir = self.project(name);
        write_all(
            &dir,
            &[
                (LIBRARY, "library\n"),
                (FINGERPRINT, "fingerprint\n"),
                ("target/debug/incremental/x-1/s/dep-graph.bin", "graph\n"),
                ("target/debug/.cargo-lock", ""),
                ("target/debug/program", "program\n"),
            ],
        );
        dir
    }

    fn seed_file(&self, path: &str) -> PathBuf {
        self.temp.path().join("cache/seed/files").join(path.strip_prefix("target/").unwrap())
    }
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

fn harvest(place: &Place, tree: &Path) -> Harvest {
    place.cache.harvest(tree, Origin::Tree).unwrap()
}

#[test]
fn a_tree_begins_with_what_another_built() {
    let place = Place::seeded();
    let first = place.built("first");
    assert_eq!(harvest(&place, &first), Harvest::Taken { files: 2, bytes: 20 });
    let second = place.project("second");
    let prepared = place.cache.prepare(&second).unwrap();
    assert!(prepared.env.is_empty());
    let Start::Seeded { cloned, linked, copied } = prepared.start else { panic!("{prepared:?}") };
    assert_eq!(cloned + linked + copied, 2);
    assert_eq!(
        (read(&second.join(LIBRARY)), read(&second.join(FINGERPRINT))),
        ("library\n".into(), "fingerprint\n".into())
    );
    assert_eq!(names_in(&second.join("target")), [".gitignore", "debug"]);
    assert_eq!(names_in(&second.join("target/debug")), [".fingerprint", "deps"]);
    // What may be rewritten in place is nobody else's; what is shared cannot be written.
    assert_ne!(inode(&second.join(FINGERPRINT)), inode(&place.seed_file(FINGERPRINT)));
    if linked == 1 {
        assert_eq!(inode(&second.join(LIBRARY)), inode(&place.seed_file(LIBRARY)));
        assert_eq!(second.join(LIBRARY).metadata().unwrap().mode() & 0o777, 0o464);
    }
    // Build systems go by times.
    for name in [LIBRARY, FINGERPRINT] {
        let time = |dir: &Path| dir.join(name).metadata().unwrap().modified().unwrap();
        assert_eq!(time(&first), time(&second), "{name}");
    }
    assert_eq!(place.cache.prepare(&second).unwrap().start, Start::Kept);
    assert_eq!(names_in(&second), ["Cargo.lock", "Cargo.toml", "target"]);
}

#[test]
fn a_seed_is_replaced_when_the_dependencies_change() {
    let place = Place::seeded();
    let first = place.built("first");
    assert!(matches!(harvest(&place, &first), Harvest::Taken { .. }));
    let second = place.built("second");
    assert_eq!(harvest(&place, &second), Harvest::Current);
    write_all(&second, &[("Cargo.lock", "version = 5\n"), (FINGERPRINT, "newer\n")]);
    assert!(matches!(harvest(&place, &second), Harvest::Taken { .. }));
    assert_eq!(read(&place.seed_file(FINGERPRINT)), "newer\n");
    let seeds = names_in(&place.temp.path().join("cache"));
    assert_eq!(seeds.iter().filter(|name| name.starts_with("seed-")).count(), 1, "{seeds:?}");
}

#[test]
fn the_users_own_build_directory_is_only_read() {
    let place = Place::seeded();
    let own = place.built("own");
    let before = own.join(LIBRARY).metadata().unwrap();
    assert!(matches!(place.cache.harvest(&own, Origin::Checkout).unwrap(), Harvest::Taken { .. }));
    let after = own.join(LIBRARY).metadata().unwrap();
    assert_eq!((before.mode(), before.nlink(), before.ctime_nsec()), (after.mode(), after.nlink(), after.ctime_nsec()));
    assert_ne!(inode(&own.join(LIBRARY)), inode(&place.seed_file(LIBRARY)));
}

#[test]
fn a_seed_that_was_changed_is_not_used_and_is_replaced() {
    let damages: [fn(&Path); 4] = [
        |file| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap(),
        |file| std::fs::remove_file(file).unwrap(),
        |file| {
            std::fs::remove_file(file).unwrap();
            symlink("/dev/zero", file).unwrap();
        },
        |file| {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
            std::fs::write(file, "libraryX").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o444)).unwrap();
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let place = Place::seeded();
        harvest(&place, &place.built("first"));
        damage(&place.seed_file(LIBRARY));
        let second = place.project("second");
        let error = place.cache.prepare(&second).unwrap_err();
        assert!(matches!(error, BuildCacheError::Damaged { .. }), "{number}: {error}");
        assert_eq!(names_in(&second), ["Cargo.lock", "Cargo.toml"], "{number}");
        assert!(matches!(harvest(&place, &place.built("third")), Harvest::Taken { .. }), "{number}");
        assert!(matches!(place.cache.prepare(&second).unwrap().start, Start::Seeded { .. }), "{number}");
    }
}

/// Changes what a file says and nothing else of it, as an agent could through a link in its tree.
fn cover_up(file: &Path) {
    let (mode, modified) = (file.metadata().unwrap().permissions(), file.metadata().unwrap().modified().unwrap());
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(file, "LIBRARY\n").unwrap();
    std::fs::File::options().append(true).open(file).unwrap().set_modified(modified).unwrap();
    std::fs::set_permissions(file, mode).unwrap();
}

#[test]
fn a_change_through_a_link_that_covers_its_tracks_is_noticed_and_handed_to_nobody() {
    let place = Place::seeded();
    harvest(&place, &place.built("first"));
    let tree = place.project("second");
    let Start::Seeded { linked, .. } = place.cache.prepare(&tree).unwrap().start else { panic!("no seed") };
    place.cache.verify().unwrap();
    cover_up(&tree.join(LIBRARY));
    if linked == 0 {
        // The file system makes clones: nothing but this tree was changed.
        return place.cache.verify().unwrap();
    }
    let error = place.cache.verify().unwrap_err();
    assert!(matches!(error, BuildCacheError::Damaged { .. }), "{error}");
    let third = place.project("third");
    let error = place.cache.prepare(&third).unwrap_err();
    assert!(matches!(error, BuildCacheError::Damaged { .. }), "{error}");
    assert_eq!(names_in(&third), ["Cargo.lock", "Cargo.toml"]);
    // It is gone, so the next harvest is a seed again.
    assert_eq!(place.cache.prepare(&third).unwrap().start, Start::Cold);
    assert!(matches!(harvest(&place, &place.built("fourth")), Harvest::Taken { .. }));
    assert!(matches!(place.cache.prepare(&third).unwrap().start, Start::Seeded { .. }));
    assert_eq!(read(&third.join(LIBRARY)), "library\n");
    let left = names_in(&place.temp.path().join("cache"));
    assert_eq!(left.iter().filter(|name| name.starts_with('.')).count(), 0, "{left:?}");
}

#[test]
fn a_seed_is_replaced_by_one_that_has_more() {
    let place = Place::seeded();
    harvest(&place, &place.built("first"));
    let second = place.built("second");
    write_all(&second, &[("target/debug/deps/libregex-0123456789abcdef.rlib", "regex\n")]);
    assert_eq!(harvest(&place, &second), Harvest::Taken { files: 3, bytes: 26 });
    assert_eq!(harvest(&place, &place.built("third")), Harvest::Current);
}

#[test]
fn the_first_trees_begin_with_what_the_user_built() {
    let place = Place::seeded();
    let own = place.built("own");
    let place = place.with_checkout(&own);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || {
                let start = place.cache.prepare(&place.project(&format!("tree-{number}"))).unwrap().start;
                assert!(matches!(start, Start::Seeded { .. }), "{start:?}");
            });
        }
    });
    assert_eq!(own.join(LIBRARY).metadata().unwrap().nlink(), 1);
    // Whatever is there of it: an unfinished project is none.
    let cold = Place::seeded();
    let empty = cold.project("empty");
    let cold = cold.with_checkout(&empty);
    assert_eq!(cold.cache.prepare(&cold.project("tree")).unwrap().start, Start::Cold);
}

#[test]
fn what_builds_at_this_moment_is_not_taken() {
    let place = Place::seeded();
    let first = place.built("first");
    let lock = std::fs::File::open(first.join("target/debug/.cargo-lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(harvest(&place, &first), Harvest::Busy);
    drop(lock);
    assert!(matches!(harvest(&place, &first), Harvest::Taken { .. }));
}

#[test]
fn odd_build_directories_are_left_alone() {
    let place = Place::seeded();
    let first = place.built("first");
    symlink("/etc/passwd", first.join("target/debug/deps/libx-0123456789abcdef.rlib")).unwrap();
    let pipe = first.join("target/debug/.fingerprint/pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(harvest(&place, &first), Harvest::Taken { files: 2, bytes: 20 });

    let place = Place::seeded();
    let linked = place.project("linked");
    symlink(place.built("first").join("target"), linked.join("target")).unwrap();
    assert_eq!(harvest(&place, &linked), Harvest::Nothing);
    assert_eq!(harvest(&place, &place.project("cold")), Harvest::Nothing);
    write_all(&place.temp.path().join("other"), &[("Makefile", "all:\n"), (LIBRARY, "x")]);
    assert_eq!(harvest(&place, &place.temp.path().join("other")), Harvest::Nothing);
    assert_eq!(place.cache.prepare(&place.temp.path().join("other")).unwrap().start, Start::Cold);
    assert_eq!(place.cache.prepare(&place.project("cold")).unwrap().start, Start::Cold);
}

#[test]
fn a_list_that_leads_out_of_the_seed_is_not_followed() {
    let place = Place::seeded();
    harvest(&place, &place.built("first"));
    let list = place.temp.path().join("cache/seed/list.json");
    std::fs::write(&list, read(&list).replace("debug/deps/", "../../../")).unwrap();
    let error = place.cache.prepare(&place.project("second")).unwrap_err();
    assert!(matches!(error, BuildCacheError::Damaged { .. }), "{error}");
}

#[test]
fn a_seed_has_a_bound() {
    let place = Place::new(BuildCacheMode::Seeded, 19);
    assert_eq!(harvest(&place, &place.built("first")), Harvest::TooLarge);
    assert_eq!(names_in(&place.temp.path().join("cache")), Vec::<String>::new());
}

#[test]
fn the_other_modes() {
    let place = Place::new(BuildCacheMode::Shared, 1 << 20);
    let first = place.built("first");
    let shared = place.temp.path().join("cache/shared");
    let prepared = place.cache.prepare(&first).unwrap();
    assert_eq!(prepared.start, Start::Shared);
    assert_eq!(prepared.env, [("CARGO_TARGET_DIR".to_owned(), shared.display().to_string())].into());
    assert!(shared.is_dir());
    assert_eq!(harvest(&place, &first), Harvest::Nothing);
    assert!(place.cache.env(place.temp.path()).is_empty());

    let place = Place::new(BuildCacheMode::Off, 1 << 20);
    let first = place.built("first");
    assert_eq!(harvest(&place, &first), Harvest::Nothing);
    assert_eq!(place.cache.prepare(&first).unwrap(), wf_effects::git::Prepared::default());
}

#[test]
fn many_trees_are_prepared_while_the_seed_is_replaced() {
    let place = Place::seeded();
    harvest(&place, &place.built("first"));
    std::thread::scope(|scope| {
        let place = &place;
        for writer in 0..2 {
            scope.spawn(move || {
                for round in 0..20 {
                    let tree = place.built(&format!("built-{writer}-{round}"));
                    write_all(&tree, &[("Cargo.lock", &format!("{writer} {round}"))]);
                    harvest(place, &tree);
                }
            });
        }
        for reader in 0..2 {
            scope.spawn(move || {
                for round in 0..40 {
                    let tree = place.project(&format!("tree-{reader}-{round}"));
                    let start = place.cache.prepare(&tree).unwrap().start;
                    assert!(matches!(start, Start::Seeded { .. }), "{start:?}");
                    assert_eq!(read(&tree.join(FINGERPRINT)), "fingerprint\n");
                }
            });
        }
    });
}
