//! Measures trees and build caches beside plain git and plain cargo, and prints one JSON object. `cargo xtask bench trees`
//! builds and runs it, and holds what it says against what must be reached.
//!
//! Everything happens in the directory that is the first argument, on the disk that is to be measured. A second argument
//! names the only part to measure: `git` or `cargo`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on ends"
)]

use std::collections::BTreeSet;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use wf_effects::git::{
    BuildCache, BuildCacheMode, BuildCacheOptions, Git, GitOptions, Origin, PoolOptions, Repository, SEED_BYTES_MAX,
    Trees, TreesOptions,
};
use wf_store::{SqliteOptions, Store};

/// Odd, so that a median is a measurement.
const REPETITIONS: usize = 3;
/// Trees at once.
const TREES: usize = 30;
/// Builds at once.
const BUILDERS: usize = 4;
/// Dependencies of the project that is built, as many as are there without a network.
const DEPENDENCIES: [(&str, &str); 5] = [
    ("serde", "{ version = \"1\", features = [\"derive\"] }"),
    ("serde_json", "\"1\""),
    ("regex-syntax", "\"0.8\""),
    ("proptest", "{ version = \"1\", default-features = false, features = [\"std\"] }"),
    ("clap", "{ version = \"4\", features = [\"derive\"] }"),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().unwrap());
    let only = args.next();
    let is_wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    std::fs::create_dir_all(&root).unwrap();
    let root = std::fs::canonicalize(root).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let git = if is_wanted("git") { runtime.block_on(measure_git(&root)) } else { Value::Null };
    let cargo = if is_wanted("cargo") { measure_cargo(&root) } else { Value::Null };
    println!("{}", json!({ "git": git, "cargo": cargo }));
}

fn command(dir: &Path, program: &str, args: &[&str]) -> std::process::Command {
    #[expect(clippy::disallowed_methods, reason = "the measurement runs plain git and cargo")]
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn git(dir: &Path, args: &[&str]) {
    let mut command = command(dir, "git", args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "t").env(format!("GIT_{name}_EMAIL"), "t@t");
    }
    assert!(command.status().unwrap().success(), "git {args:?}");
}

#[expect(clippy::disallowed_methods, reason = "a measurement of time reads the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Whatever was written before goes to the disk first: else one measurement pays for what another has written.
fn settle() {
    rustix::fs::sync();
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    settle();
    let start = now();
    let given = work();
    (start.elapsed().as_secs_f64(), given)
}

async fn timed_async<T>(work: impl Future<Output = T>) -> (f64, T) {
    settle();
    let start = now();
    let given = work.await;
    (start.elapsed().as_secs_f64(), given)
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A new directory in place of what was there.
fn fresh(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A repository with that many files of a few KiB.
fn repository(root: &Path, name: &str, files: usize) -> PathBuf {
    let dir = fresh(root, name);
    for file in 0..files {
        let text = format!("line of {file}\n").repeat(40 + file % 200);
        write(&dir.join(file_name(file)), &text);
    }
    write(&dir.join(".gitignore"), "*.log\nbuild/\n");
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "begin"]);
    git(&dir, &["gc", "-q"]);
    dir
}

fn file_name(file: usize) -> String {
    format!("d{}/e{}/f{file}.txt", file % 20, file / 20 % 20)
}

async fn trees(root: &Path, repo: &Path) -> (Trees, String) {
    let scratch = root.join("scratch");
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
    let options = GitOptions {
        program: "git".into(),
        path,
        scratch_dir: scratch.clone(),
        locks_dir: scratch,
        timeout: Duration::from_secs(300),
    };
    let git = Git::open(options).await.unwrap();
    let repository = Repository::discover(&git, repo).await.unwrap();
    let base = repository.head_commit().await.unwrap().commit;
    // Who has which tree is on the disk, as it is in a run.
    let store = Store::open_sqlite(&root.join("store"), SqliteOptions::default()).unwrap();
    let usual = PoolOptions::new(store.trees.clone(), "bench");
    let pool = PoolOptions { trees_max: Some(2 * TREES), warm_max: TREES, ..usual };
    let trees = Trees::open(&repository, &TreesOptions { root: root.join("trees"), run: "bench".to_owned(), pool });
    (trees.unwrap(), base)
}

/// What a tenant leaves: changed files, and ignored ones.
fn dirty(dir: &Path, changed: usize) {
    for file in 0..changed {
        write(&dir.join(file_name(file * 7)), &format!("changed {file}\n"));
        write(&dir.join(format!("build/out{file}.bin")), "built\n");
    }
    write(&dir.join("x.log"), "said\n");
}

fn worktrees(repo: &Path, to: &Path, count: usize) -> f64 {
    let dirs: Vec<String> = (0..count).map(|at| to.join(format!("w{at}")).display().to_string()).collect();
    let (seconds, ()) = timed(|| dirs.iter().for_each(|dir| git(repo, &["worktree", "add", "-q", "--detach", dir])));
    for dir in &dirs {
        git(repo, &["worktree", "remove", "--force", dir]);
    }
    seconds
}

async fn measure_git(root: &Path) -> Value {
    let mut values: [Vec<f64>; 8] = std::array::from_fn(|_| Vec::new());
    let [one_plain, one_warm, one_release, thirty_plain, thirty_warm, thirty_cold, thirty_release, failures] =
        &mut values;
    let large = repository(root, "large", 5_000);
    let small = repository(root, "small", 3_000);
    for round in 0..REPETITIONS {
        eprintln!("git, round {}", round + 1);
        let plain = fresh(root, "plain");
        one_plain.push(worktrees(&large, &plain, 1));
        let own = fresh(root, "own");
        let (pool, base) = trees(&own, &large).await;
        pool.acquire("first", &base).await.unwrap();
        dirty(&pool.begin("first", &base).await.unwrap().dir, 200);
        let (seconds, rescued) = timed_async(pool.release("first", &base, false)).await;
        assert!(rescued.unwrap().is_some());
        one_release.push(seconds);
        one_warm.push(timed_async(pool.acquire("second", &base)).await.0);
        pool.cleanup().await.unwrap();

        thirty_plain.push(worktrees(&small, &plain, TREES));
        let own = fresh(root, "own");
        let (pool, base) = trees(&own, &small).await;
        let (seconds, failed) = timed_async(at_once(&pool, &base, "cold", false)).await;
        thirty_cold.push(seconds);
        failures.push(failed as f64);
        for at in 0..TREES {
            dirty(&pool.begin(&format!("cold{at}"), &base).await.unwrap().dir, 20);
        }
        let (seconds, failed) = timed_async(at_once(&pool, &base, "cold", true)).await;
        assert_eq!(failed, 0);
        thirty_release.push(seconds);
        let (seconds, failed) = timed_async(at_once(&pool, &base, "warm", false)).await;
        assert_eq!(failed, 0);
        thirty_warm.push(seconds);
        pool.cleanup().await.unwrap();
    }
    json!({
        "one_plain_s": one_plain, "one_warm_s": one_warm, "one_release_s": one_release,
        "thirty_plain_s": thirty_plain, "thirty_warm_s": thirty_warm, "thirty_cold_s": thirty_cold,
        "thirty_release_s": thirty_release, "thirty_cold_failures": failures,
    })
}

/// Thirty operations at once; how many failed.
async fn at_once(trees: &Trees, base: &str, name: &str, is_release: bool) -> usize {
    let work = (0..TREES).map(|at| {
        let (trees, base, branch) = (trees.clone(), base.to_owned(), format!("{name}{at}"));
        tokio::spawn(async move {
            match is_release {
                true => trees.release(&branch, &base, false).await.map(drop),
                false => trees.acquire(&branch, &base).await.map(drop),
            }
        })
    });
    let work: Vec<_> = work.collect();
    let mut failed = 0;
    for task in work {
        if let Err(error) = task.await.unwrap() {
            eprintln!("{error}");
            failed += 1;
        }
    }
    failed
}

/// A project whose dependencies take far longer to build than itself.
fn project(dir: &Path, dependencies: &str) {
    let manifest = format!(
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n\n[dependencies]\n{dependencies}"
    );
    write(&dir.join("Cargo.toml"), &manifest);
    let mut main = String::new();
    for module in 0..20 {
        main.push_str(&format!("mod m{module};\n"));
        let functions = (0..20).map(|at| format!("pub fn f{at}(x: u64) -> u64 {{ x.rotate_left({at}) ^ {module} }}\n"));
        write(&dir.join(format!("src/m{module}.rs")), &functions.collect::<String>());
    }
    main.push_str("fn main() { println!(\"{}\", ");
    main.push_str(&(0..20).map(|module| format!("m{module}::f3(4)")).collect::<Vec<_>>().join(" ^ "));
    main.push_str("); }\n#[test]\nfn test() {}\n");
    write(&dir.join("src/main.rs"), &main);
}

fn is_built(dir: &Path, env: &std::collections::BTreeMap<String, String>) -> bool {
    let mut command = command(dir, "cargo", &["build", "--offline", "-q"]);
    // The build directory is what is measured, not what the caller's environment says of it.
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_INCREMENTAL").envs(env);
    command.status().unwrap().success()
}

/// A project that can be built here.
fn first_project(root: &Path) -> (PathBuf, usize) {
    let mut wanted = DEPENDENCIES.to_vec();
    loop {
        let dir = fresh(root, "project");
        let text: String = wanted.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        project(&dir, &text);
        if is_built(&dir, &Default::default()) || wanted.pop().is_none() {
            return (dir, wanted.len());
        }
    }
}

/// A checkout of the project, whose files are newer than anything that was built.
fn checkout(project: &Path, dir: &Path) {
    let entries = ["Cargo.toml", "Cargo.lock", "src/main.rs"].map(str::to_owned);
    for name in entries.into_iter().chain((0..20).map(|at| format!("src/m{at}.rs"))) {
        write(&dir.join(&name), &std::fs::read_to_string(project.join(&name)).unwrap());
    }
}

fn edit(dir: &Path, number: usize) {
    for name in ["src/m1.rs", "src/m2.rs"] {
        let path = dir.join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        write(&path, &format!("{text}pub fn edited_{number}() {{}}\n"));
    }
}

/// Builds in all directories at once.
fn build_all(dirs: &[PathBuf], cache: &BuildCache) -> f64 {
    let build = |dir: &Path| assert!(is_built(dir, &cache.env(dir)), "the build in {dir:?} failed");
    timed(|| std::thread::scope(|scope| dirs.iter().for_each(|dir| _ = scope.spawn(move || build(dir))))).0
}

/// Bytes on the disk, each file once however many links it has.
fn disk(dirs: &[&Path]) -> u64 {
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    let mut waiting: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.path().symlink_metadata().unwrap();
            if seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * 512;
            }
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}

fn cache(root: &Path, mode: BuildCacheMode) -> BuildCache {
    BuildCache::new(BuildCacheOptions {
        mode,
        root: root.join("cache"),
        seed_bytes_max: SEED_BYTES_MAX,
        checkout: None,
    })
}

/// New checkouts, each prepared; how long preparing one took.
fn prepared(root: &Path, project: &Path, cache: &BuildCache, count: usize) -> (Vec<PathBuf>, f64) {
    let dirs: Vec<PathBuf> = (0..count).map(|at| root.join(format!("t{at}"))).collect();
    let mut seconds = 0.0;
    for dir in &dirs {
        checkout(project, dir);
        seconds += timed(|| cache.prepare(dir).unwrap()).0;
    }
    (dirs, seconds / count as f64)
}

fn measure_cargo(root: &Path) -> Value {
    eprintln!("cargo, first build");
    let (project, dependencies) = first_project(root);
    let one = disk(&[&project]);
    let mut modes = serde_json::Map::new();
    for (name, mode) in
        [("off", BuildCacheMode::Off), ("seeded", BuildCacheMode::Seeded), ("shared", BuildCacheMode::Shared)]
    {
        let mut values: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::new());
        let [prepare, first, edited, one_by_one] = &mut values;
        for round in 0..REPETITIONS {
            eprintln!("cargo, {name}, round {}", round + 1);
            let place = fresh(root, "builders");
            let cache = cache(&place, mode);
            cache.harvest(&project, Origin::Checkout).unwrap();
            let (dirs, seconds) = prepared(&place, &project, &cache, BUILDERS);
            prepare.push(seconds);
            dirs.iter().for_each(|dir| edit(dir, 0));
            first.push(build_all(&dirs, &cache));
            dirs.iter().for_each(|dir| edit(dir, 1));
            edited.push(build_all(&dirs, &cache));
            edit(&dirs[0], 2);
            one_by_one.push(build_all(&dirs[..1], &cache));
            cache.verify().unwrap();
        }
        modes.insert(
            name.to_owned(),
            json!({ "prepare_s": prepare, "first_build_s": first, "edited_s": edited, "one_edited_s": one_by_one }),
        );
    }
    let mut disks = serde_json::Map::new();
    for (name, mode) in [("seeded", BuildCacheMode::Seeded), ("shared", BuildCacheMode::Shared)] {
        eprintln!("cargo, disk, {name}");
        let place = fresh(root, "builders");
        let cache = cache(&place, mode);
        cache.harvest(&project, Origin::Checkout).unwrap();
        let (dirs, _) = prepared(&place, &project, &cache, TREES);
        for (number, dir) in dirs.iter().enumerate() {
            edit(dir, number);
            assert!(is_built(dir, &cache.env(dir)));
        }
        cache.verify().unwrap();
        disks.insert(name.to_owned(), json!(disk(&[&place])));
    }
    json!({ "dependencies": dependencies, "one_tree_bytes": one, "trees_bytes": disks, "modes": modes })
}
