//! One limiter for a provider in a process: calls at once, requests and tokens a minute, and until when the provider
//! wants to be left alone, which holds for all its calls.
//!
//! A short wait is waited; a long one is answered as throttled, so that a leaf waits without holding anything. The own
//! token bucket instead of a library's is there because tokens that a call did not use are put back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bounds::RETRY_AFTER_MS_MAX;
use super::error::{ModelError, ModelErrorKind};
use crate::contract::{CancelToken, Clock};

/// Longest wait for the rate within a call. What takes longer is throttling.
pub const WAIT_MS_MAX: u64 = 1_000;
/// Longest wait for a place among the calls at once. What takes longer is throttling.
pub const PLACE_WAIT_MS_MAX: u64 = 60_000;
/// Calls at once where nothing is said.
pub const CALLS_MAX_DEFAULT: usize = 16;
/// Most calls at once.
pub const CALLS_MAX_MAX: usize = 4_096;
const MINUTE_MS: u64 = 60_000;

/// What a provider allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, read and written.
    pub tokens_per_minute: Option<u64>,
    /// Calls at once; 16 unless said otherwise.
    pub concurrency: Option<usize>,
}

/// The limiter of one provider.
pub struct Limiter {
    places: Arc<Semaphore>,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

struct State {
    not_before_ms: i64,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// The right to make one call.
pub struct Permit<'a> {
    limiter: &'a Limiter,
    tokens: u64,
    _place: OwnedSemaphorePermit,
}

impl Limiter {
    /// A limiter that allows this.
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let now_ms = clock.now_ms();
        let bucket = |per_minute: Option<u64>| per_minute.map(|size| Bucket::new(size, now_ms));
        let state = State {
            not_before_ms: i64::MIN,
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
        };
        let places = limits.concurrency.unwrap_or(CALLS_MAX_DEFAULT).clamp(1, CALLS_MAX_MAX);
        Self { places: Arc::new(Semaphore::new(places)), state: Mutex::new(state), clock }
    }

    /// Waits until a call that may use `tokens` is allowed.
    ///
    /// # Errors
    /// When that takes too long, or the call is cancelled.
    pub async fn admit(&self, tokens: u64, cancel: &CancelToken) -> Result<Permit<'_>, ModelError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                Err(ModelError::unsent(ModelErrorKind::Cancelled, "the call was cancelled before it was made"))
            }
            admitted = self.wait(tokens) => admitted,
        }
    }

    async fn wait(&self, tokens: u64) -> Result<Permit<'_>, ModelError> {
        // Whoever is not wanted does not stand in line either.
        self.check_not_before()?;
        let place =
            tokio::time::timeout(Duration::from_millis(PLACE_WAIT_MS_MAX), Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| throttled(MINUTE_MS, "all calls that may be made at once are made"))?;
        let place = place.map_err(|_| throttled(MINUTE_MS, "no more calls are made"))?;
        loop {
            let wait_ms = match self.take(tokens) {
                Ok(taken) => return Ok(Permit { limiter: self, tokens: taken, _place: place }),
                Err(wait_ms) if wait_ms > WAIT_MS_MAX => {
                    return Err(throttled(wait_ms, "as many calls or tokens were used as a minute may have"));
                }
                Err(wait_ms) => wait_ms,
            };
            self.clock.sleep(Duration::from_millis(wait_ms.max(1))).await;
        }
    }

    fn check_not_before(&self) -> Result<(), ModelError> {
        let wait_ms = remaining(self.state().not_before_ms, self.clock.now_ms());
        if wait_ms > WAIT_MS_MAX { Err(throttled(wait_ms, "the provider wants to be left alone")) } else { Ok(()) }
    }

    /// Takes a request and its tokens, or says how long to wait.
    fn take(&self, tokens: u64) -> Result<u64, u64> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        // More than a minute has could never be had: such a call takes all of it.
        let tokens = state.tokens.as_ref().map_or(0, |bucket| tokens.min(bucket.size));
        let waits = [
            remaining(state.not_before_ms, now_ms),
            state.requests.as_mut().map_or(0, |bucket| bucket.wait_ms(1, now_ms)),
            state.tokens.as_mut().map_or(0, |bucket| bucket.wait_ms(tokens, now_ms)),
        ];
        let wait_ms = waits.into_iter().max().unwrap_or(0);
        if wait_ms > 0 {
            return Err(wait_ms);
        }
        if let Some(bucket) = &mut state.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut state.tokens {
            bucket.take(tokens);
        }
        Ok(tokens)
    }

    /// Leaves the provider alone for so long. A shorter wait never shortens a longer one.
    pub fn leave_alone(&self, wait_ms: u64) {
        let until = self.clock.now_ms().saturating_add_unsigned(wait_ms.min(RETRY_AFTER_MS_MAX));
        let mut state = self.state();
        state.not_before_ms = state.not_before_ms.max(until);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Settles what the call used: what it did not is put back, what it used beyond is owed. What is unknown counts as
    /// what was taken.
    pub fn settle(self, used: Option<u64>) {
        let Some(used) = used else { return };
        if let Some(bucket) = &mut self.limiter.state().tokens {
            bucket.settle(self.tokens, used);
        }
    }
}

fn remaining(until_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0)
}

fn throttled(retry_after_ms: u64, why: &str) -> ModelError {
    ModelError::unsent(ModelErrorKind::Throttled { retry_after_ms }, why)
}

/// So many a minute, and at most a minute's worth at once. Counted in parts of a minute's millisecond, so that nothing
/// is lost by rounding.
struct Bucket {
    size: u64,
    level: i128,
    at_ms: i64,
}

impl Bucket {
    fn new(size: u64, now_ms: i64) -> Self {
        let size = size.max(1);
        Self { size, level: i128::from(size) * i128::from(MINUTE_MS), at_ms: now_ms }
    }

    fn wait_ms(&mut self, wanted: u64, now_ms: i64) -> u64 {
        let full = i128::from(self.size) * i128::from(MINUTE_MS);
        // A clock that is set back makes nobody wait twice.
        let passed = i128::from(now_ms.saturating_sub(self.at_ms).max(0));
        self.level = (self.level + passed * i128::from(self.size)).min(full);
        self.at_ms = now_ms;
        let missing = i128::from(wanted) * i128::from(MINUTE_MS) - self.level;
        if missing <= 0 {
            0
        } else {
            u64::try_from(missing.unsigned_abs().div_ceil(u128::from(self.size))).unwrap_or(u64::MAX)
        }
    }

    fn take(&mut self, wanted: u64) {
        self.level -= i128::from(wanted) * i128::from(MINUTE_MS);
    }

    fn settle(&mut self, taken: u64, used: u64) {
        let full = i128::from(self.size) * i128::from(MINUTE_MS);
        // What a server claims beyond all measure stops its calls for a minute and not for ever.
        let used = used.min(taken.saturating_add(self.size));
        self.level = (self.level + (i128::from(taken) - i128::from(used)) * i128::from(MINUTE_MS)).min(full);
    }
}
