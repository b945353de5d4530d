//! Processes of the simulation: what they see of time, when they stand still, and the effects that they perform.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use wf_effects::{BoxFuture, Clock, Ctx, Effects};
use wf_kernel::{Amount, Effect, EffectId, Outcome, Phase, Usage};

use crate::world::{Draw, Weather, answer};

/// When virtual time begins.
pub(crate) const BEGIN_MS: i64 = 1_000_000;

/// What all processes share.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) weather: Weather,
    begun: Instant,
    draw: Mutex<Draw>,
    /// Whether the world is still rough.
    rough: Mutex<bool>,
    /// What is performed now: nothing by two at once under one identity.
    performing: Mutex<BTreeSet<(String, EffectId)>>,
    /// Questions for more budget that were answered with no, and with yes.
    pub(crate) topups: [AtomicU32; 2],
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, rough: bool) -> Arc<Self> {
        Arc::new(Self {
            seed,
            weather,
            begun: Instant::now(),
            draw: Mutex::new(Draw(seed ^ 0xf1ee7)),
            rough: Mutex::new(rough),
            performing: Mutex::default(),
            topups: Default::default(),
        })
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        lock(&self.draw).below(bound)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        lock(&self.draw).chance(percent)
    }

    pub(crate) fn is_rough(&self) -> bool {
        *lock(&self.rough)
    }

    pub(crate) fn calm_down(&self) {
        *lock(&self.rough) = false;
    }

    pub(crate) fn now_ms(&self) -> i64 {
        BEGIN_MS + i64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

/// One process: it may stand still, be slow, and have a clock that is wrong.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) world: Arc<World>,
    skew_ms: i64,
    slow_ms: u64,
    still_until: Mutex<Instant>,
}

impl Process {
    pub(crate) fn new(name: String, world: Arc<World>) -> Arc<Self> {
        let skew_ms = world.below(4_001) as i64 - 2_000;
        let slow_ms = if world.chance(20) { world.below(300) } else { 0 };
        Arc::new(Self { name, world, skew_ms, slow_ms, still_until: Mutex::new(Instant::now()) })
    }

    /// One that is neither slow nor wrong about the time.
    pub(crate) fn exact(name: &str, world: &Arc<World>) -> Arc<Self> {
        let (name, still_until) = (name.to_owned(), Mutex::new(Instant::now()));
        Arc::new(Self { name, world: world.clone(), skew_ms: 0, slow_ms: 0, still_until })
    }

    /// Stands still from now on, as when it is stopped by a signal.
    pub(crate) fn stand_still(&self, duration: Duration) {
        *lock(&self.still_until) = Instant::now() + duration;
    }

    /// Waits until it does not stand still.
    pub(crate) async fn go_on(&self) {
        loop {
            let until = *lock(&self.still_until);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// The time that something takes which is not instantaneous.
    pub(crate) async fn take_time(&self, most_ms: u64) {
        let ms = self.world.below(most_ms + 1) + self.slow_ms;
        sleep(Duration::from_millis(ms)).await;
        self.go_on().await;
    }
}

impl Clock for Process {
    fn now_ms(&self) -> i64 {
        self.world.now_ms() + self.skew_ms
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(sleep(duration))
    }
}

/// Effects: what they answer depends on seed, path and attempt only.
pub(crate) struct SimEffects(pub(crate) Arc<Process>);

impl Effects for SimEffects {
    fn perform(&self, effect: Effect, ctx: Ctx) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let (process, world) = (&self.0, &self.0.world);
            process.go_on().await;
            let key = (ctx.run_id.to_string(), effect.id.clone());
            let is_work = effect.id.phase == Phase::Perform;
            let _performance = is_work.then(|| Performance::begin(world.clone(), key));
            let outcome = answer(world.seed, world.weather, &ctx.workflow, &effect);
            let most = if is_work { 4_000 } else { 50 };
            // In calm weather leaves are quick.
            let calls = if is_work && world.weather.failures > 0 { calls_of(world.seed, &effect) } else { 0 };
            let working = async {
                for call in 1..=calls {
                    process.take_time(300).await;
                    let spent = Amount { tokens: HELD.tokens + 50 * (call - 1), ..HELD };
                    let total = Amount { tokens: HELD.tokens + 50 * call, ..HELD };
                    let is_granted = loop {
                        match ctx.meter.hold(spent, total).await {
                            Ok(is_granted) => break is_granted,
                            // The store does not answer.
                            Err(_) => process.take_time(500).await,
                        }
                    };
                    world.topups[usize::from(is_granted)].fetch_add(1, Ordering::Relaxed);
                    if !is_granted {
                        let used = Usage { input_tokens: Some(spent.tokens), ..Usage::default() };
                        return Outcome::BudgetExceeded { usage: used, partial: None };
                    }
                }
                process.take_time(most).await;
                outcome
            };
            tokio::select! {
                biased;
                () = ctx.cancel.cancelled() => {
                    if is_work {
                        return Outcome::Cancelled { usage: Usage::default() };
                    }
                    process.take_time(0).await;
                    answer(world.seed, world.weather, &ctx.workflow, &effect)
                }
                outcome = working => outcome,
            }
        })
    }
}

/// What every leaf's estimate has reserved.
const HELD: Amount = Amount { tokens: 100, cost_usd_micros: 50 };

/// How often an attempt asks for more budget.
fn calls_of(seed: u64, effect: &Effect) -> u64 {
    u64::from(wf_ir::Digest::of_json(&(seed, "calls", &*effect.id.subject)).0[0] % 8).saturating_sub(5)
}

/// A performance, until it ends or its process dies.
struct Performance {
    world: Arc<World>,
    key: (String, EffectId),
}

impl Performance {
    fn begin(world: Arc<World>, key: (String, EffectId)) -> Self {
        let is_new = lock(&world.performing).insert(key.clone());
        assert!(is_new, "{key:?} is performed twice at once under one identity");
        Self { world, key }
    }
}

impl Drop for Performance {
    fn drop(&mut self) {
        lock(&self.world.performing).remove(&self.key);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
