//! The agent's loop over both protocols: what it sends back after a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use wf_effects::agent::files::Tree;
use wf_effects::agent::output::Outputs;
use wf_effects::agent::tools::Tools;
use wf_effects::agent::{Limits, Order, World, work};
use wf_effects::models::ProviderKind;
use wf_effects::models::typed::Budget;
use wf_effects::secret::Redactor;
use wf_effects::{BoxFuture, CancelToken, Steering};
use wf_kernel::Amount;
use wf_store::Store;

use crate::server::{Server, stream};
use crate::shapes::{ANTHROPIC_CALLS, OPENAI_CALLS};
use crate::support::{model, providers, show_usage, spec};

struct Endless;

impl Budget for Endless {
    fn more(&self, _: Amount) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

async fn check(kind: ProviderKind, calls: &str, last: &str, expected: Expect) {
    let server = Server::start(vec![stream(calls), stream(last)]).await;
    let providers = providers(spec(kind, &server.base_url));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "one\n").unwrap();
    let mut tools = Tools {
        tree: Some(Tree::open(dir.path().to_owned(), Vec::new(), Vec::new()).unwrap()),
        shell: Err("none".to_owned()),
        allowed: None,
        outputs: Outputs::new(Arc::clone(&Store::memory().blobs)),
    };
    let model = model(&providers);
    let order = Order {
        model: &*model,
        price: None,
        context: Some(32_000),
        system: "rules".to_owned(),
        task: vec!["task".to_owned()],
        schema: None,
        tasks_max: 0,
        params: BTreeMap::new(),
        output_tokens_max: 500,
        limits: Limits::default(),
        held: Amount::default(),
    };
    let world = World {
        tools: &mut tools,
        cancel: &CancelToken::default(),
        steering: &Steering::default(),
        told: &[],
        budget: &Endless,
        redactor: &Redactor::default(),
        trace: &|_, _| {},
    };
    let done = work(order, world).await.unwrap();
    let asked = server.asked();
    let body: serde_json::Value = serde_json::from_str(&asked[1].body).unwrap();
    let messages: Vec<String> = body["messages"].as_array().unwrap().iter().map(|it| format!("{it}\n")).collect();
    let shown = format!("{}{} {}\n", messages.concat(), done.value.to_json(), show_usage(&done.usage));
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn openai_gets_each_result_under_its_call() {
    let last = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"z\",\"function\":{\"name\":\"hand_back\",\"arguments\":\"{\\\"result\\\":\\\"ok\\\"}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"cached_tokens\":6}}\n\n";
    check(ProviderKind::OpenAi, OPENAI_CALLS, last, expect![[r#"
        {"content":"rules","role":"system"}
        {"content":"task","role":"user"}
        {"content":null,"role":"assistant","tool_calls":[{"function":{"arguments":"{\"path\":\"x\"}","name":"read"},"id":"a","type":"function"},{"function":{"arguments":"{\"pattern\":1}","name":"grep"},"id":"b","type":"function"}]}
        {"content":"1\tone\n","role":"tool","tool_call_id":"a"}
        {"content":"error: the arguments do not fit: at /pattern: 1 is not of type \"string\"","role":"tool","tool_call_id":"b"}
        "ok" [in 14 out 3 cached 10 written ? reasoning ?]
    "#]]).await;
}

#[tokio::test]
async fn anthropic_gets_its_reasoning_back_as_it_was() {
    let last = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"model\":\"tiny-a\",\"usage\":{\"input_tokens\":2,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"all done\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    check(ProviderKind::Anthropic, ANTHROPIC_CALLS, last, expect![[r#"
        {"content":[{"text":"task","type":"text"}],"role":"user"}
        {"content":[{"signature":"c2ln","thinking":"look","type":"thinking"},{"id":"a","input":{"path":"x"},"name":"read","type":"tool_use"},{"id":"b","input":{},"name":"glob","type":"tool_use"}],"role":"assistant"}
        {"content":[{"content":"1\tone\n","is_error":false,"tool_use_id":"a","type":"tool_result"},{"cache_control":{"type":"ephemeral"},"content":"error: the arguments do not fit: \"pattern\" is a required property","is_error":true,"tool_use_id":"b","type":"tool_result"}],"role":"user"}
        "all done" [in 14 out 12 cached ? written ? reasoning ?]
    "#]]).await;
}
