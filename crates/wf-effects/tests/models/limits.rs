//! One limiter for all calls of a provider, and what outages lead to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use expect_test::expect;
use wf_effects::models::limiter::{Limiter, Limits};
use wf_effects::models::{ModelErrorKind, ProviderKind, Providers};
use wf_effects::{BoxFuture, CancelToken, Clock};

use crate::server::{Act, Server, answer, stream};
use crate::shapes::OPENAI_TEXT;
use crate::support::{ask, model, request, show, spec};

/// A clock that goes on only when somebody waits.
#[derive(Default)]
struct Stepped {
    now_ms: Arc<AtomicI64>,
}

impl Clock for Stepped {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.now_ms.fetch_add(duration.as_millis() as i64, Ordering::SeqCst);
        Box::pin(async {})
    }
}

fn limiter(limits: Limits) -> (Limiter, Arc<AtomicI64>) {
    let clock = Stepped::default();
    let now_ms = Arc::clone(&clock.now_ms);
    (Limiter::new(limits, Arc::new(clock)), now_ms)
}

async fn admit(limiter: &Limiter, tokens: u64) -> Result<(), u64> {
    match limiter.admit(tokens, &CancelToken::default()).await {
        Ok(_permit) => Ok(()),
        Err(error) => match error.kind {
            ModelErrorKind::Throttled { retry_after_ms } => Err(retry_after_ms),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn requests_of_a_minute_are_spread() {
    let (limiter, now_ms) = limiter(Limits { requests_per_minute: Some(120), ..Limits::default() });
    for _ in 0..120 {
        assert_eq!(admit(&limiter, 1).await, Ok(()));
    }
    assert_eq!(now_ms.load(Ordering::SeqCst), 0);
    // Half a second for each more, which is short enough to be waited for.
    assert_eq!(admit(&limiter, 1).await, Ok(()));
    assert_eq!(now_ms.load(Ordering::SeqCst), 500);
    // A clock that is set back stops nobody.
    now_ms.store(-1_000_000, Ordering::SeqCst);
    assert_eq!(admit(&limiter, 1).await, Ok(()));
    assert_eq!(now_ms.load(Ordering::SeqCst), -1_000_000 + 500);
}

#[tokio::test]
async fn tokens_that_were_not_used_are_put_back() {
    let (limiter, now_ms) = limiter(Limits { tokens_per_minute: Some(60_000), ..Limits::default() });
    let cancel = CancelToken::default();
    let permit = limiter.admit(60_000, &cancel).await.unwrap();
    assert_eq!(admit(&limiter, 10_000).await, Err(10_000));
    permit.settle(Some(1_000));
    assert_eq!(admit(&limiter, 59_000).await, Ok(()));
    // What was used beyond is owed, at most a minute's worth.
    now_ms.store(60_000, Ordering::SeqCst);
    limiter.admit(1, &cancel).await.unwrap().settle(Some(u64::MAX));
    assert_eq!(admit(&limiter, 60_000).await, Err(60_001));
    // A call larger than a minute's worth takes all of it instead of waiting for ever.
    now_ms.store(1_000_000, Ordering::SeqCst);
    assert_eq!(admit(&limiter, u64::MAX).await, Ok(()));
}

#[tokio::test]
async fn not_before_holds_for_all() {
    let (limiter, now_ms) = limiter(Limits::default());
    limiter.leave_alone(30_000);
    limiter.leave_alone(5_000);
    assert_eq!(admit(&limiter, 1).await, Err(30_000));
    now_ms.store(29_500, Ordering::SeqCst);
    assert_eq!(admit(&limiter, 1).await, Ok(()));
    assert_eq!(now_ms.load(Ordering::SeqCst), 30_000);
    limiter.leave_alone(u64::MAX);
    assert_eq!(admit(&limiter, 1).await, Err(3_600_000));
}

#[tokio::test]
async fn calls_at_once_are_bounded() {
    let (limiter, _) = limiter(Limits { concurrency: Some(2), ..Limits::default() });
    let cancel = CancelToken::default();
    let first = limiter.admit(1, &cancel).await.unwrap();
    let _second = limiter.admit(1, &cancel).await.unwrap();
    let third = limiter.admit(1, &cancel);
    tokio::pin!(third);
    assert!(futures_ready(&mut third).await.is_none());
    drop(first);
    assert!(third.await.is_ok());
}

/// What a future gives at once, if anything.
async fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        ready = future => Some(ready),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn whoever_is_throttled_stops_the_others_without_asking() {
    let busy = vec![Act::Send(answer("429 Too Many", &["retry-after: 60"], "{}"))];
    let server = Server::start(vec![busy]).await;
    let catalog = wf_effects::models::Catalog {
        providers: BTreeMap::from([("local".to_owned(), spec(ProviderKind::OpenAi, &server.base_url))]),
        ..Default::default()
    };
    let providers = Providers::new(catalog, Arc::new(Stepped::default()));
    let first = show(&ask(&*model(&providers), &request("one")).await);
    let second = show(&ask(&*model(&providers), &request("two")).await);
    expect![[r#"
        Throttled { retry_after_ms: 60000 }: the provider answered 429 Too Many Requests [in 0 out 0 cached 0 written 0 reasoning 0]
        Throttled { retry_after_ms: 60000 }: the provider wants to be left alone [in 0 out 0 cached 0 written 0 reasoning 0]
    "#]].assert_eq(&format!("{first}{second}"));
    assert_eq!(server.asked().len(), 1);
    assert!(providers.health().is_empty());
}

#[tokio::test]
async fn an_outage_is_remembered_until_an_answer_comes() {
    let down = vec![Act::Send(answer("503 Down", &[], "gone"))];
    let server = Server::start(vec![down, stream(OPENAI_TEXT)]).await;
    let catalog = wf_effects::models::Catalog {
        providers: BTreeMap::from([("local".to_owned(), spec(ProviderKind::OpenAi, &server.base_url))]),
        ..Default::default()
    };
    let providers = Providers::new(catalog, Arc::new(Stepped::default()));
    assert!(ask(&*model(&providers), &request("one")).await.is_err());
    let health = providers.health();
    let outage = &health["local"];
    expect!["the provider answered 503 Service Unavailable: gone until 30000"]
        .assert_eq(&format!("{} until {}", outage.reason, outage.until_ms));
    assert!(ask(&*model(&providers), &request("two")).await.is_ok());
    assert!(providers.health().is_empty());
}
