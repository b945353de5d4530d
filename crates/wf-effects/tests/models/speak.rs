//! Both protocols as they should be spoken.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use wf_effects::models::http::Timeouts;
use wf_effects::models::{Message, ModelRequest, Part, ProviderKind, Speaker, ToolSpec};
use wf_ir::Value;

use crate::server::{Server, answer, chunked, stream};
use crate::shapes::{ANTHROPIC_CALLS, ANTHROPIC_TEXT, OPENAI_CALLS, OPENAI_TEXT};
use crate::support::{KEY, ask, model, once, providers, request, spec};

/// The shape in one piece, in chunks of one to seven bytes, and with other ends of lines: always the same answer.
async fn check(kind: ProviderKind, shape: &str, expected: Expect) {
    let (shown, _) = once(kind, stream(shape), Timeouts::default()).await;
    expected.assert_eq(&shown);
    for size in 1..8 {
        let (again, _) = once(kind, chunked(shape, size), Timeouts::default()).await;
        assert_eq!(again, shown, "in chunks of {size}");
    }
    for end in ["\r\n", "\r"] {
        let (again, _) = once(kind, chunked(shape.replace('\n', end), 3), Timeouts::default()).await;
        assert_eq!(again, shown, "with lines that end in {end:?}");
    }
}

#[tokio::test]
async fn openai_says_text() {
    let expected = expect![[r#"
        text "grün 🌿!"
        End tiny-1 [in 20 out 7 cached 12 written ? reasoning 3]
        seen: Text("grün ") Text("🌿!")
    "#]];
    check(ProviderKind::OpenAi, OPENAI_TEXT, expected).await;
}

#[tokio::test]
async fn openai_calls_tools() {
    let expected = expect![[r#"
        reasoning {"reasoning_content":"look first"}
        call a read {"path":"x"}
        call b grep {"pattern":1}
        ToolCalls tiny-1 [in 5 out 2 cached 4 written ? reasoning ?]
        seen: Reasoning("look ") Reasoning("first") ToolCall("read") ToolCall("grep")
    "#]];
    check(ProviderKind::OpenAi, OPENAI_CALLS, expected).await;
}

#[tokio::test]
async fn anthropic_says_text() {
    let expected = expect![[r#"
        text "grün 🌿!"
        End tiny-a [in 18 out 7 cached 10 written 3 reasoning ?]
        seen: Text("grün ") Text("🌿!")
    "#]];
    check(ProviderKind::Anthropic, ANTHROPIC_TEXT, expected).await;
}

#[tokio::test]
async fn anthropic_calls_tools() {
    let expected = expect![[r#"
        reasoning {"signature":"c2ln","thinking":"look","type":"thinking"}
        call a read {"path":"x"}
        call b glob {}
        ToolCalls tiny-a [in 5 out 9 cached ? written ? reasoning ?]
        seen: Reasoning("look") ToolCall("read") ToolCall("glob")
    "#]];
    check(ProviderKind::Anthropic, ANTHROPIC_CALLS, expected).await;
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = r#"{"model":"tiny-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let script = vec![crate::server::Act::Send(answer("200 OK", &["content-type: application/json"], body))];
    let (shown, _) = once(ProviderKind::OpenAi, script, Timeouts::default()).await;
    expect![[r#"
        text "hi"
        End tiny-1 [in 1 out 2 cached ? written ? reasoning ?]
        seen: Text("hi")
    "#]]
    .assert_eq(&shown);
}

#[tokio::test]
async fn calls_without_index_or_id_are_told_apart() {
    let shape = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"read\",\"arguments\":\"{\\\"a\\\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"read\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\n",
    );
    let (shown, _) = once(ProviderKind::OpenAi, stream(shape), Timeouts::default()).await;
    expect![[r#"
        call call_0 read {"a":1}
        call call_1 read {}
        ToolCalls org/tiny [in ? out ? cached ? written ? reasoning ?]
        seen: ToolCall("read") ToolCall("read")
    "#]]
    .assert_eq(&shown);
}

/// A conversation with everything in it.
fn conversation() -> ModelRequest {
    let text = |text: &str| Part::Text(text.to_owned());
    let reasoning = Value::map([("type", "thinking".into()), ("thinking", "hm".into())]);
    let call =
        Part::ToolCall { id: "a".to_owned(), name: "read".to_owned(), arguments: Value::map([("path", "x".into())]) };
    let broken = Part::ToolCall { id: "b".to_owned(), name: "read".to_owned(), arguments: "{oops".into() };
    let result =
        |id: &str, text: &str, is_error| Part::ToolResult { id: id.to_owned(), text: text.to_owned(), is_error };
    ModelRequest {
        system: "be brief".to_owned(),
        messages: vec![
            Message::text(Speaker::User, "go"),
            Message { role: Speaker::Assistant, parts: vec![Part::Reasoning(reasoning), text("so"), call, broken] },
            Message { role: Speaker::Tool, parts: vec![result("a", "1", false), result("b", "no", true)] },
        ],
        tools: vec![ToolSpec {
            name: "read".to_owned(),
            description: "reads".to_owned(),
            parameters: Value::map([("type", "object".into())]),
        }],
        output: Some(Value::from_json(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#).unwrap()),
        output_tokens_max: 100,
        params: BTreeMap::from([("temperature".to_owned(), Value::Int(0)), ("stream".to_owned(), Value::from(false))]),
    }
}

async fn sent(kind: ProviderKind, shape: &str) -> String {
    let server = Server::start(vec![stream(shape)]).await;
    let providers = providers(spec(kind, &server.base_url));
    ask(&*model(&providers), &conversation()).await.unwrap();
    let asked = server.asked().remove(0);
    let mut head: Vec<&str> = asked.head.lines().collect();
    head.retain(|line| !line.starts_with("host") && !line.starts_with("content-length"));
    head[1..].sort_unstable();
    let body = serde_json::from_str::<serde_json::Value>(&asked.body).unwrap();
    let head = head.join("\n").replace(KEY, "KEY");
    format!("{head}\n{}\n", serde_json::to_string_pretty(&body).unwrap())
}

#[tokio::test]
async fn what_openai_is_sent() {
    expect![[r#"
        POST /v1/chat/completions HTTP/1.1
        accept: */*
        authorization: Bearer KEY
        content-type: application/json
        user-agent: whaleflow
        x-team: green
        {
          "max_tokens": 100,
          "messages": [
            {
              "content": "be brief",
              "role": "system"
            },
            {
              "content": "go",
              "role": "user"
            },
            {
              "content": "so",
              "role": "assistant",
              "tool_calls": [
                {
                  "function": {
                    "arguments": "{\"path\":\"x\"}",
                    "name": "read"
                  },
                  "id": "a",
                  "type": "function"
                },
                {
                  "function": {
                    "arguments": "{oops",
                    "name": "read"
                  },
                  "id": "b",
                  "type": "function"
                }
              ]
            },
            {
              "content": "1",
              "role": "tool",
              "tool_call_id": "a"
            },
            {
              "content": "no",
              "role": "tool",
              "tool_call_id": "b"
            }
          ],
          "model": "org/tiny",
          "response_format": {
            "json_schema": {
              "name": "answer",
              "schema": {
                "additionalProperties": false,
                "properties": {
                  "n": {
                    "type": "integer"
                  }
                },
                "required": [
                  "n"
                ],
                "type": "object"
              },
              "strict": true
            },
            "type": "json_schema"
          },
          "stream": true,
          "stream_options": {
            "include_usage": true
          },
          "temperature": 0,
          "tools": [
            {
              "function": {
                "description": "reads",
                "name": "read",
                "parameters": {
                  "type": "object"
                }
              },
              "type": "function"
            }
          ]
        }
    "#]]
    .assert_eq(&sent(ProviderKind::OpenAi, OPENAI_TEXT).await);
}

#[tokio::test]
async fn what_anthropic_is_sent() {
    expect![[r#"
        POST /v1/messages HTTP/1.1
        accept: */*
        anthropic-version: 2023-06-01
        content-type: application/json
        user-agent: whaleflow
        x-api-key: KEY
        x-team: green
        {
          "max_tokens": 100,
          "messages": [
            {
              "content": [
                {
                  "text": "go",
                  "type": "text"
                }
              ],
              "role": "user"
            },
            {
              "content": [
                {
                  "thinking": "hm",
                  "type": "thinking"
                },
                {
                  "text": "so",
                  "type": "text"
                },
                {
                  "id": "a",
                  "input": {
                    "path": "x"
                  },
                  "name": "read",
                  "type": "tool_use"
                },
                {
                  "id": "b",
                  "input": {
                    "arguments": "{oops"
                  },
                  "name": "read",
                  "type": "tool_use"
                }
              ],
              "role": "assistant"
            },
            {
              "content": [
                {
                  "content": "1",
                  "is_error": false,
                  "tool_use_id": "a",
                  "type": "tool_result"
                },
                {
                  "cache_control": {
                    "type": "ephemeral"
                  },
                  "content": "no",
                  "is_error": true,
                  "tool_use_id": "b",
                  "type": "tool_result"
                }
              ],
              "role": "user"
            }
          ],
          "model": "org/tiny",
          "output_config": {
            "format": {
              "schema": {
                "additionalProperties": false,
                "properties": {
                  "n": {
                    "type": "integer"
                  }
                },
                "required": [
                  "n"
                ],
                "type": "object"
              },
              "type": "json_schema"
            }
          },
          "stream": true,
          "system": [
            {
              "cache_control": {
                "type": "ephemeral"
              },
              "text": "be brief",
              "type": "text"
            }
          ],
          "temperature": 0,
          "tools": [
            {
              "description": "reads",
              "input_schema": {
                "type": "object"
              },
              "name": "read"
            }
          ]
        }
    "#]]
    .assert_eq(&sent(ProviderKind::Anthropic, ANTHROPIC_TEXT).await);
}

#[tokio::test]
async fn the_estimate_is_above_what_prose_and_code_need() {
    let text = "fn main() { println!(\"naïve 汉字\"); } ".repeat(50);
    let request = request(&text);
    // The densest tokenizers need about one token for two bytes of such text.
    assert!(request.input_tokens_max() >= text.len() as u64 / 2);
    assert!(request.input_tokens_max() <= text.len() as u64);
}
