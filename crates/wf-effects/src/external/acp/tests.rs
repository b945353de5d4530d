use super::*;

#[test]
fn a_line_is_a_message_or_a_fault() {
    let shown = |line: &str| match parse(line) {
        Ok(Message::Request { id, method, .. }) => format!("request {id} {method}"),
        Ok(Message::Notice { method, .. }) => format!("notice {method}"),
        Ok(Message::Answer { id, answer }) => format!("answer {id} {:?}", answer.map_err(|it| (it.code, it.message))),
        Err(fault) => fault.code().to_owned(),
    };
    let cases = [
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"answer 1 Ok(Object {})"#),
        (r#"{"id":1,"result":null}"#, "answer 1 Ok(Null)"),
        (r#"{"id":1,"result":null,"error":{"code":-1,"message":"m"}}"#, r#"answer 1 Err((-1, "m"))"#),
        (r#"{"id":1,"error":{}}"#, r#"answer 1 Err((0, "it does not say why"))"#),
        (r#"{"id":"a","method":"fs/x","params":[]}"#, r#"request "a" fs/x"#),
        (r#"{"id":null,"method":"fs/x"}"#, "request null fs/x"),
        (r#"{"method":"session/update"}"#, "notice session/update"),
        (r#"{"id":1}"#, "agent_protocol"),
        (r#"{"id":1,"result":1,"error":{"code":1}}"#, "agent_protocol"),
        (r#"{"id":{},"method":"x"}"#, "agent_protocol"),
        (r#"{"id":true,"result":1}"#, "agent_protocol"),
        (r#"{"method":7}"#, "agent_protocol"),
        (r#"[{"method":"batch"}]"#, "agent_protocol"),
        ("{}", "agent_protocol"),
        ("7", "agent_protocol"),
        ("hello", "agent_protocol"),
        (r#"{"id":1,"result":"#, "agent_protocol"),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), expected, "{line}");
    }
    assert_eq!(shown(&"[".repeat(1_000_000)), "agent_protocol");
}

#[test]
fn tokens_of_a_cache_are_counted_once() {
    let cases = [
        (json!(null), (None, None, None)),
        (json!({"inputTokens": 5}), (None, None, None)),
        (json!({"inputTokens": -5, "outputTokens": 1}), (None, None, None)),
        (json!({"inputTokens": 5, "outputTokens": 2}), (Some(5), Some(2), None)),
        // The sum says that the cache comes on top.
        (
            json!({"totalTokens": 17, "inputTokens": 5, "outputTokens": 2, "cachedReadTokens": 10}),
            (Some(15), Some(2), Some(10)),
        ),
        // Here it is among what was read.
        (
            json!({"totalTokens": 17, "inputTokens": 15, "outputTokens": 2, "cachedReadTokens": 10}),
            (Some(15), Some(2), Some(10)),
        ),
        (
            json!({"totalTokens": 20, "inputTokens": 5, "outputTokens": 2, "thoughtTokens": 3, "cachedReadTokens": 10}),
            (Some(15), Some(5), Some(10)),
        ),
        (json!({"totalTokens": 7, "inputTokens": 5, "outputTokens": 2, "thoughtTokens": 1}), (Some(5), Some(2), None)),
    ];
    for (usage, expected) in cases {
        let found = used(&usage);
        assert_eq!((found.input_tokens, found.output_tokens, found.cached_tokens), expected, "{usage}");
    }
}
