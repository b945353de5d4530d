//! Measures what a sandbox adds to the start of a command, and prints one JSON object. Run it optimised:
//! `cargo run --release -p wf-effects --example sandbox`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and ends when it cannot go on")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use wf_effects::CancelToken;
use wf_effects::process::{Bounds, End, SUPERVISE_CHILD, Spec, run, supervise};
use wf_effects::sandbox::{Host, Policy, detect};

/// Starts of each kind, in turns, so that what else the machine does hits both.
const STARTS: usize = 200;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(SUPERVISE_CHILD) {
        return supervise().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let supervisor = std::env::current_exe().unwrap();
    let tier = detect(&supervisor).await.describe();
    let policy = Host { homes: vec!["/root".into()], ..Host::default() }.policy();
    let (mut bare, mut held) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        bare.push(start(&supervisor, None).await);
        held.push(start(&supervisor, Some(policy.clone())).await);
    }
    let (bare, held) = (median(bare), median(held));
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    println!(
        "{}",
        json!({
            "tier": tier,
            "starts": STARTS,
            "bare_ms": ms(bare),
            "sandboxed_ms": ms(held),
            "more_ms": ms(held) - ms(bare),
        })
    );
}

async fn start(supervisor: &std::path::Path, sandbox: Option<Policy>) -> Duration {
    let spec = Spec {
        argv: vec!["/bin/true".to_owned()],
        cwd: PathBuf::from("/"),
        env: BTreeMap::new(),
        stdin: None,
        bounds: Bounds::with_timeout(Duration::from_secs(60)),
        supervisor: Some(supervisor.to_owned()),
        sandbox,
    };
    #[expect(clippy::disallowed_methods, reason = "a measurement takes the time")]
    let begun = Instant::now();
    let finished = run(&spec, &CancelToken::default(), &|_, _| {}).await.unwrap();
    assert_eq!(finished.end, End::Exited(0));
    begun.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
