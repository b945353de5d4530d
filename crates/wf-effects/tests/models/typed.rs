//! Answers that must fit a schema, from models that keep to one and from models that do not.

use expect_test::{Expect, expect};
use tokio::sync::Mutex;
use wf_effects::models::typed::{Budget, NoAnswer, Wish, ask};
use wf_effects::models::{Price, ProviderKind};
use wf_effects::{BoxFuture, CancelToken};
use wf_ir::Value;
use wf_kernel::Amount;

use crate::server::{Server, stream};
use crate::support::{model, providers, request, show_usage, spec};

/// A budget for so many further calls.
struct Calls(Mutex<(u32, Vec<Amount>)>);

impl Budget for Calls {
    fn more(&self, amount: Amount) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let mut left = self.0.lock().await;
            left.1.push(amount);
            let is_there = left.0 > 0;
            left.0 = left.0.saturating_sub(1);
            is_there
        })
    }
}

fn say(text: &str, stop: &str) -> String {
    let text = Value::from(text).to_json();
    format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":{text}}},\"finish_reason\":\"{stop}\"}}],\"usage\":{{\"prompt_tokens\":10,\"completion_tokens\":2}}}}\n\n"
    )
}

async fn check(answers: &[(&str, &str)], is_native: bool, calls: u32, expected: Expect) {
    let scripts = answers.iter().map(|(text, reason)| stream(say(text, reason))).collect();
    let server = Server::start(scripts).await;
    let providers = providers(spec(ProviderKind::OpenAi, &server.base_url));
    let schema =
        Value::from_json(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#).unwrap();
    let budget = Calls(Mutex::new((calls, Vec::new())));
    let price = Price { input: 1_000_000, output: 1_000_000, ..Price::default() };
    let wish = Wish { schema: Some(&schema), is_native, repairs_max: 2, price: Some(price), budget: &budget };
    let cancel = CancelToken::default();
    let asked = ask(&*model(&providers), request("count"), &wish, &cancel, &mut |_| {}).await;
    let mut shown = match asked {
        Ok(answer) => {
            format!("{} after {} calls {}\n", answer.value.to_json(), answer.calls, show_usage(&answer.usage))
        }
        Err(NoAnswer::Model(error)) => format!("{:?} {} {}\n", error.kind, error.message, show_usage(&error.usage)),
        Err(NoAnswer::Unfit { reason, usage }) => format!("unfit: {reason} {}\n", show_usage(&usage)),
        Err(NoAnswer::Refused { said, usage }) => format!("refused: {said} {}\n", show_usage(&usage)),
        Err(NoAnswer::OverBudget { reason, usage }) => format!("over budget: {reason} {}\n", show_usage(&usage)),
    };
    for asked in server.asked() {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        shown.push_str(&format!("asked: {last:?}, schema {}\n", body["response_format"].is_object()));
    }
    let reserved = budget.0.lock().await.1.len();
    assert_eq!(reserved, server.asked().len() - 1 + usize::from(shown.starts_with("over budget")));
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn a_model_that_keeps_to_schemas_is_told_one() {
    check(
        &[(r#"{"n":3}"#, "stop")],
        true,
        9,
        expect![[r#"
        {"n":3} after 1 calls [in 10 out 2 cached ? written ? reasoning ?]
        asked: "count", schema true
    "#]],
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_again_with_the_reason() {
    let answers =
        [("three", "stop"), ("```json\n{\"n\":\"3\"}\n```", "stop"), ("Here:\n```\n{\"n\":3}\n```\n", "stop")];
    check(&answers, false, 9, expect![[r#"
        {"n":3} after 3 calls [in 30 out 6 cached ? written ? reasoning ?]
        asked: "count", schema false
        asked: "Your answer cannot be used: it is not JSON: expected ident at line 1 column 2\nAnswer again, complete, and see to it that this is put right.", schema false
        asked: "Your answer cannot be used: at /n: \"3\" is not of type \"integer\"\nAnswer again, complete, and see to it that this is put right.", schema false
    "#]]).await;
    check(&[("{\"n\":", "length"), ("", "stop"), ("[]", "stop")], false, 9, expect![[r#"
        unfit: [] is not of type "object" [in 30 out 6 cached ? written ? reasoning ?]
        asked: "count", schema false
        asked: "Your answer cannot be used: it was cut off, because it is longer than it may be\nAnswer again, complete, and see to it that this is put right.", schema false
        asked: "Your answer cannot be used: it is empty\nAnswer again, complete, and see to it that this is put right.", schema false
    "#]]).await;
}

#[tokio::test]
async fn asking_again_needs_budget() {
    check(&[("three", "stop"), ("four", "stop")], false, 1, expect![[r#"
        over budget: it is not JSON: expected ident at line 1 column 2 [in 20 out 4 cached ? written ? reasoning ?]
        asked: "count", schema false
        asked: "Your answer cannot be used: it is not JSON: expected ident at line 1 column 2\nAnswer again, complete, and see to it that this is put right.", schema false
    "#]]).await;
}

#[tokio::test]
async fn whoever_refuses_is_not_asked_again() {
    check(
        &[("I will not.", "content_filter")],
        false,
        9,
        expect![[r#"
        refused: I will not. [in 10 out 2 cached ? written ? reasoning ?]
        asked: "count", schema false
    "#]],
    )
    .await;
}
