//! Which providers are out, as far as this process has seen: a leaf that is prepared meanwhile passes them over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How long a provider is passed over after its first outage; each further one in a row doubles it.
pub const OUTAGE_MS: u64 = 30_000;
/// Longest that a provider is passed over.
pub const OUTAGE_MS_MAX: u64 = 600_000;

/// The outages of all providers.
#[derive(Debug, Default)]
pub struct Outages {
    known: Mutex<BTreeMap<String, Outage>>,
}

/// What is known of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Until when the provider is passed over, in milliseconds since the Unix epoch.
    pub until_ms: i64,
    /// What it said, or did.
    pub reason: String,
    count: u32,
}

/// The outages at one time.
pub type Health = BTreeMap<String, Outage>;

impl Outages {
    /// Remembers that `provider` failed; it may have said for how long.
    pub fn note(&self, provider: &str, now_ms: i64, retry_after_ms: Option<u64>, reason: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(provider);
        // Calls that were under way together fail together: that is one outage.
        let count = match before {
            Some(outage) if now_ms < outage.until_ms => outage.count,
            Some(outage) => outage.count.saturating_add(1),
            None => 0,
        };
        let usual_ms = OUTAGE_MS.saturating_mul(1 << count.min(16));
        let wait_ms = retry_after_ms.unwrap_or(usual_ms).clamp(1, OUTAGE_MS_MAX);
        let until_ms = now_ms.saturating_add_unsigned(wait_ms);
        let until_ms = before.map_or(until_ms, |outage| outage.until_ms.max(until_ms));
        known.insert(provider.to_owned(), Outage { until_ms, reason: reason.to_owned(), count });
    }

    /// Forgets what was known of `provider`: it has answered.
    pub fn clear(&self, provider: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(provider);
    }

    /// Who is out now.
    pub fn at(&self, now_ms: i64) -> Health {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .filter(|(_, outage)| now_ms < outage.until_ms)
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_remembered_longer_each_time_and_forgotten_with_an_answer() {
        let outages = Outages::default();
        let until = |now_ms| outages.at(now_ms).get("p").map(|outage| outage.until_ms);
        outages.note("p", 0, None, "down");
        outages.note("p", 10_000, None, "down");
        assert_eq!(until(20_000), Some(40_000));
        assert_eq!(until(40_000), None);
        outages.note("p", 40_000, None, "down");
        assert_eq!(until(50_000), Some(100_000));
        outages.note("p", 100_000, Some(5_000), "down");
        assert_eq!(until(100_000), Some(105_000));
        outages.clear("p");
        assert_eq!(until(100_000), None);
        outages.note("p", 0, Some(u64::MAX), "down");
        assert_eq!(until(0), Some(600_000));
    }
}
