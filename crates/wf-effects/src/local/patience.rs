//! How soon a branch that found no tree asks again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest and the longest time until the next question.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// Between them it is this part of the time that the branch has waited.
const PART: u32 = 8;

/// Since when branches have waited for a tree. Each question is in the log of its run, so whoever has waited long asks
/// seldom.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Mutex<HashMap<String, Instant>>,
}

impl Patience {
    /// After how many milliseconds a branch that got no tree asks again.
    pub(super) fn again_ms(&self, branch: &str) -> u64 {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = since.entry(branch.to_owned()).or_insert_with(Instant::now).elapsed();
        (waited / PART).clamp(AGAIN_MIN, AGAIN_MAX).as_millis() as u64
    }

    /// A branch has waited long enough.
    pub(super) fn forget(&self, branch: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(branch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a branch asks that waits for so long.
    async fn questions(patience: &Patience, for_: Duration) -> u32 {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < for_ {
            tokio::time::sleep(Duration::from_millis(patience.again_ms("b"))).await;
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_long_asks_seldom() {
        let patience = Patience::default();
        assert_eq!(questions(&patience, Duration::from_secs(4)).await, 8);
        assert_eq!(questions(&patience, Duration::from_secs(24 * 3_600)).await, 5_782);
        assert_eq!((patience.again_ms("b"), patience.again_ms("another")), (15_000, 500));
        patience.forget("b");
        assert_eq!(patience.again_ms("b"), 500);
    }
}
