//! The two seams of the shell: [`Effects`] and [`Clock`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wf_ir::Workflow;
use wf_kernel::{Effect, Outcome};
use wf_store::{Blobs, Traces};

use crate::secret::Redactor;

/// A boxed future, so that the seams can stand behind `Arc<dyn …>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Performs effects. Every answer is data; a panic inside is caught by the caller and becomes a failure.
pub trait Effects: Send + Sync {
    /// Performs one effect. Cancelled through `ctx.cancel`; must then answer promptly.
    fn perform(&self, effect: Effect, ctx: Ctx) -> BoxFuture<'_, Outcome>;

    /// Gives back what is still held for the run, which is over. What cannot be given back is left to the next process.
    fn conclude(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What an effect gets, and all it gets.
#[derive(Clone)]
pub struct Ctx {
    /// The run.
    pub run_id: Arc<str>,
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// Its seed.
    pub seed: u64,
    /// Where values too large for a record go.
    pub blobs: Arc<dyn Blobs>,
    /// Where what happens meanwhile goes; nothing depends on it.
    pub traces: Arc<dyn Traces>,
    /// Tells when the effect is to end.
    pub cancel: CancelToken,
    /// What an agent is told while it works.
    pub steering: Steering,
    /// Whether this is still the one that may do it.
    pub grant: Grant,
    /// What keeps secrets out of values; blobs and traces are behind it already.
    pub redactor: Redactor,
}

/// The right to do something for a run: that of its owner, or that of a worker to one task. Whoever stopped for a while
/// may have lost it without noticing; before something that cannot be refused later, it is asked for again.
#[derive(Clone)]
pub struct Grant {
    check: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

impl Grant {
    /// A right that `check` knows of.
    pub fn new(check: impl Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static) -> Self {
        Self { check: Arc::new(check) }
    }

    /// A right that nobody takes away: for what has one owner only.
    pub fn unshared() -> Self {
        Self::new(|| Box::pin(async { true }))
    }

    /// Whether it is still held.
    pub async fn is_held(&self) -> bool {
        (self.check)().await
    }
}

/// What an agent is told while it works, in order.
#[derive(Clone, Debug)]
pub struct Steering {
    sender: Arc<watch::Sender<Vec<Arc<str>>>>,
}

impl Default for Steering {
    fn default() -> Self {
        Self { sender: Arc::new(watch::Sender::new(Vec::new())) }
    }
}

impl Steering {
    /// Tells something.
    pub fn tell(&self, text: Arc<str>) {
        self.sender.send_modify(|told| told.push(text));
    }

    /// Everything that was told so far.
    pub fn told(&self) -> Vec<Arc<str>> {
        self.sender.borrow().clone()
    }

    /// Waits until more than `known` things were told.
    pub async fn more_than(&self, known: usize) {
        let mut receiver = self.sender.subscribe();
        // The sender lives in `self`, so waiting can only end with more.
        let _ = receiver.wait_for(|told| told.len() > known).await;
    }
}

/// The time, and waiting for it.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Says, once and for all, that an effect is to end.
#[derive(Clone, Debug)]
pub struct CancelToken {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for CancelToken {
    fn default() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }
}

impl CancelToken {
    /// Ends the effect.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Whether it was ended.
    pub fn is_cancelled(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until it is ended.
    pub async fn cancelled(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives in `self`, so waiting can only end with the value.
        let _ = receiver.wait_for(|cancelled| *cancelled).await;
    }
}
