//! The two seams of the shell: [`Effects`] and [`Clock`].

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use wf_ir::Workflow;
use wf_kernel::{Amount, Effect, Outcome};
use wf_store::{Blobs, BoxError, Traces};

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
    /// Where more budget is asked for.
    pub meter: Meter,
    /// Whether this is still the one that may do it.
    pub grant: Grant,
    /// What keeps secrets out of values; blobs and traces are behind it already.
    pub redactor: Redactor,
}

/// The budget of an attempt, as whoever performs it sees it.
///
/// An attempt begins with what its estimate had reserved. Before it uses more than that, it asks; the answer comes from
/// whoever owns the run, and may take until others have handed back what they hold.
#[derive(Clone)]
pub struct Meter {
    ask: Arc<dyn Fn(MeterAsk) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>,
    answers: Arc<watch::Sender<BTreeMap<u32, bool>>>,
    asked: Arc<AtomicU32>,
}

/// A question for more budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterAsk {
    /// Counts the attempt's questions, from 1.
    pub asked: u32,
    /// What it has used so far.
    pub spent: Amount,
    /// What it wants held for it, what it has used included.
    pub total: Amount,
}

impl Meter {
    /// A meter whose questions go to `ask`, and are answered by [`Meter::answer`].
    pub fn new(ask: impl Fn(MeterAsk) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), answers: Arc::default(), asked: Arc::default() }
    }

    /// A meter of what has no ceiling: every question is answered with yes.
    pub fn unlimited() -> Self {
        let answers: Arc<watch::Sender<BTreeMap<u32, bool>>> = Arc::default();
        let to = Arc::clone(&answers);
        let ask = move |it: MeterAsk| -> BoxFuture<'static, Result<(), BoxError>> {
            to.send_modify(|answers| {
                answers.insert(it.asked, true);
            });
            Box::pin(async { Ok(()) })
        };
        Self { ask: Arc::new(ask), answers, asked: Arc::default() }
    }

    /// Answers a question.
    pub fn answer(&self, asked: u32, is_granted: bool) {
        self.answers.send_modify(|answers| {
            answers.insert(asked, is_granted);
        });
    }

    /// Asks for `total` to be held for the attempt, of which `spent` is used. Waits for the answer; whoever may be
    /// cancelled meanwhile stops waiting by dropping this.
    ///
    /// # Errors
    /// When the question cannot be put; then nothing is granted.
    pub async fn hold(&self, spent: Amount, total: Amount) -> Result<bool, BoxError> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut answers = self.answers.subscribe();
        (self.ask)(MeterAsk { asked, spent, total }).await?;
        // The sender lives in `self`, so waiting can only end with an answer.
        let answered = answers.wait_for(|answers| answers.contains_key(&asked)).await;
        Ok(answered.ok().and_then(|answers| answers.get(&asked).copied()).unwrap_or(false))
    }
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
