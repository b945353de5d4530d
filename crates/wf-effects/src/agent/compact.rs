//! Keeping a conversation within a model's window, by rule: first old results and reasoning are left out, then old
//! turns. The task and the latest turns always stay. What is left out was traced when it came.

use crate::models::{Message, Part, Speaker};

/// Messages at the end that are never touched.
const LATEST: usize = 6;
/// Messages at the beginning that are never touched: the task.
const FIRST: usize = 1;
/// Results shorter than this stay.
const SHORT_BYTES: usize = 400;

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Results of tools.
    pub results: usize,
    /// Whole messages.
    pub messages: usize,
}

/// Leaves out as much as it takes for `tokens` of the messages to be at most `tokens_max`.
pub fn compact(messages: &mut Vec<Message>, tokens_max: u64, tokens: &dyn Fn(&[Message]) -> u64) -> LeftOut {
    let mut left_out = LeftOut::default();
    if tokens(messages) <= tokens_max {
        return left_out;
    }
    let end = messages.len().saturating_sub(LATEST);
    for at in FIRST.min(end)..end {
        let (shortened, is_changed) = shorten(&mut messages[at]);
        left_out.results += shortened;
        // Counting takes as long as the conversation is.
        if is_changed && tokens(messages) <= tokens_max {
            return left_out;
        }
    }
    // A turn is an answer and what came of its calls: one never goes without the other.
    while tokens(messages) > tokens_max && messages.len() > FIRST + LATEST {
        let is_begin = |message: &Message| message.role == Speaker::Assistant;
        let turns = messages[FIRST..].iter().enumerate().filter(|(_, it)| is_begin(it)).map(|(at, _)| at + FIRST);
        let next = turns.into_iter().find(|at| *at > FIRST);
        let Some(next) = next.filter(|next| *next <= messages.len().saturating_sub(2)) else { break };
        left_out.messages += next - FIRST;
        messages.drain(FIRST..next);
    }
    if left_out.messages > 0 {
        let note = format!("\n\n[{} earlier messages of this conversation were left out]", left_out.messages);
        match messages.first_mut().and_then(|first| first.parts.last_mut()) {
            Some(Part::Text(text)) if !text.ends_with("were left out]") => text.push_str(&note),
            _ => {}
        }
    }
    left_out
}

/// Leaves the long of a message out; says how many results that were, and whether anything was changed.
fn shorten(message: &mut Message) -> (usize, bool) {
    let mut count = 0;
    let parts = message.parts.len();
    message.parts.retain(|part| !matches!(part, Part::Reasoning(_)));
    for part in &mut message.parts {
        if let Part::ToolResult { text, .. } = part
            && text.len() > SHORT_BYTES
        {
            *text = format!("[{} bytes were left out; call again if they are needed]", text.len());
            count += 1;
        }
    }
    (count, count > 0 || message.parts.len() < parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: usize) -> Vec<Message> {
        let mut messages = vec![Message::text(Speaker::User, "task")];
        for turn in 0..turns {
            let id = turn.to_string();
            let call = Part::ToolCall { id: id.clone(), name: "read".to_owned(), arguments: wf_ir::Value::Null };
            messages.push(Message { role: Speaker::Assistant, parts: vec![call] });
            let result = Part::ToolResult { id, text: "x".repeat(1_000), is_error: false };
            messages.push(Message { role: Speaker::Tool, parts: vec![result] });
        }
        messages
    }

    fn bytes(messages: &[Message]) -> u64 {
        let parts = messages.iter().flat_map(|message| &message.parts);
        parts
            .map(|part| match part {
                Part::Text(text) | Part::ToolResult { text, .. } => text.len() as u64,
                Part::ToolCall { .. } | Part::Reasoning(_) => 10,
            })
            .sum()
    }

    fn check(turns: usize, most: u64, expected: (usize, usize), left: usize) {
        let mut messages = conversation(turns);
        let left_out = compact(&mut messages, most, &bytes);
        assert_eq!(((left_out.results, left_out.messages), messages.len()), (expected, left));
        // Every result still has its call, right before it.
        for pair in messages.windows(2) {
            if let [Part::ToolResult { id, .. }] = &pair[1].parts[..] {
                assert!(matches!(&pair[0].parts[..], [Part::ToolCall { id: call, .. }] if call == id));
            }
        }
        assert!(matches!(&messages[0].parts[..], [Part::Text(text)] if text.starts_with("task")));
    }

    #[test]
    fn old_results_go_first_and_turns_only_if_that_is_not_enough() {
        check(10, 100_000, (0, 0), 21);
        check(10, 8_000, (3, 0), 21);
        check(10, 3_500, (7, 2), 19);
        check(10, 0, (7, 14), 7);
        check(2, 0, (0, 0), 5);
    }
}
