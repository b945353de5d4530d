//! A report as Markdown.

use std::fmt::Write as _;

use wf_ir::Value;

use super::ReportView;
use crate::contest::{FruitView, TIE};
use crate::run::UsageView;
use crate::text::{amount, clean, clean_lines, counted, duration, money};

/// The longest JSON text that a report shows of one value, in characters.
const VALUE_CHARS_MAX: usize = 4_000;

pub(super) fn write(report: &ReportView) -> String {
    let mut text = String::new();
    let run = &report.run;
    _ = writeln!(text, "# {} `{}`: {}\n", run.workflow.id, run.run_id, plain(run.status));
    if !report.description.is_empty() {
        _ = writeln!(text, "{}\n", plain(&report.description));
    }
    outcome(&mut text, report);
    verification(&mut text, report);
    value(&mut text, "Outputs", run.outputs.as_deref());
    branches(&mut text, report);
    contests(&mut text, report);
    costs(&mut text, report);
    models(&mut text, report);
    slowest(&mut text, report);
    failures(&mut text, report);
    people(&mut text, report);
    next(&mut text, report);
    text
}

fn outcome(text: &mut String, report: &ReportView) {
    let run = &report.run;
    _ = writeln!(text, "## Outcome\n");
    _ = writeln!(text, "- Status: **{}**", plain(run.status));
    if let Some(reason) = &run.reason {
        let at = if reason.path.is_empty() { String::new() } else { format!(" ({})", code(&reason.path)) };
        _ = writeln!(text, "- Why: {}{at}", plain(&reason.message));
    }
    _ = writeln!(text, "- Verified: **{}**", run.verified);
    let leaves = run.leaves;
    _ = writeln!(
        text,
        "- Leaves: {} of {} succeeded, {} failed, {} skipped",
        leaves.done, leaves.total, leaves.failed, leaves.skipped
    );
    let ended = report.ended_at.as_ref().map_or_else(String::new, |at| format!(", ended {at}"));
    _ = writeln!(text, "- Time: {} (began {}{ended})", duration(run.duration_ms), report.started_at);
    _ = writeln!(text, "- Used: {}", usage(&run.usage));
    if let Some(repo) = &run.repo {
        _ = writeln!(text, "- Repository: {}", code(repo));
    }
    _ = writeln!(text, "- Workflow: {}", code(&run.workflow.hash));
    if let Some(digest) = &run.result_digest {
        _ = writeln!(text, "- Result digest: {}", code(digest));
    }
    for (why, count) in &report.skipped {
        let skipped = counted(*count, "instance was", "instances were");
        _ = writeln!(text, "- {skipped} skipped: {}", plain(&why.replace('_', " ")));
    }
    text.push('\n');
}

fn verification(text: &mut String, report: &ReportView) {
    _ = writeln!(text, "## Verification\n");
    _ = writeln!(text, "{}\n", plain(&report.verification.message));
    for test in &report.verification.tests {
        _ = writeln!(text, "- {}: {}", code(&test.path), passed(test.passed));
    }
    if !report.verification.tests.is_empty() {
        text.push('\n');
    }
}

fn branches(text: &mut String, report: &ReportView) {
    if report.branches.is_empty() {
        return;
    }
    _ = writeln!(text, "## Branches\n");
    _ = writeln!(text, "| branch | ended | files | lines | tests | cost | commit |\n|---|---|---|---|---|---|---|");
    for branch in &report.branches {
        let won = if branch.winner { " (chosen)" } else { "" };
        let checks: Vec<&str> = branch.checks.iter().map(|check| passed(check.passed)).collect();
        let checks = if checks.is_empty() { "none".to_owned() } else { checks.join(", ") };
        _ = writeln!(
            text,
            "| {}{won} | {} | {} | +{} −{} | {checks} | {} | {} |",
            code(&branch.path),
            plain(branch.status),
            branch.files,
            branch.insertions,
            branch.deletions,
            branch.usage.as_ref().map_or_else(|| "none".to_owned(), |used| known(used.cost_usd_micros.map(money))),
            code(&branch.commit)
        );
    }
    text.push('\n');
}

/// Who won against whom, and what the losers leave.
fn contests(text: &mut String, report: &ReportView) {
    if report.contests.is_empty() {
        return;
    }
    _ = writeln!(text, "## Tournaments\n");
    for contest in &report.contests {
        _ = writeln!(text, "{} was won by {}.\n", code(&contest.path), code(&contest.winner));
        for (place, standing) in contest.ranking.iter().enumerate() {
            let score = standing.score.as_ref().map(|score| format!(" with {}", plain(&score.to_json())));
            let why = standing.why.as_ref().map(|why| format!(", could not win: {}", plain(why)));
            let (score, why) = (score.unwrap_or_default(), why.unwrap_or_default());
            _ = writeln!(text, "{}. {}{score}{why}", place + 1, code(&standing.path));
        }
        text.push('\n');
        for game in &contest.bracket {
            let votes = game.votes.iter().map(|vote| if vote == TIE { "neither".to_owned() } else { code(vote) });
            let votes = votes.collect::<Vec<_>>().join(", then ");
            let (first, second, winner) = (code(&game.first), code(&game.second), code(&game.winner));
            _ = writeln!(text, "- {first} against {second}: the judge preferred {votes}; {winner} went on");
        }
        for fruit in &contest.fruit {
            _ = writeln!(text, "- {} leaves {}", code(&fruit.path), leaves(fruit));
        }
        if !contest.bracket.is_empty() || !contest.fruit.is_empty() {
            text.push('\n');
        }
    }
}

fn leaves(fruit: &FruitView) -> String {
    let files = |files: &[String]| files.iter().map(|file| code(file)).collect::<Vec<_>>().join(", ");
    let parts = [
        fruit.results.then(|| "its results".to_owned()),
        (!fruit.tests.is_empty()).then(|| format!("tests ({})", files(&fruit.tests))),
        (!fruit.patch.is_empty()).then(|| format!("a patch of its own ({})", files(&fruit.patch))),
    ];
    let mut text = parts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    if !fruit.taken_by.is_empty() {
        text.push_str(&format!("; taken by {}", files(&fruit.taken_by)));
    }
    text
}

fn costs(text: &mut String, report: &ReportView) {
    let budget = &report.budget;
    let ceilings = [
        budget.tokens.map(|most| format!("{} of {} tokens", amount(budget.settled.tokens), amount(most))),
        budget.cost_usd_micros.map(|most| format!("{} of {}", money(budget.settled.cost_usd_micros), money(most))),
        budget.leaves.map(|most| format!("{} of {most} leaves", budget.leaves_begun)),
        budget.wall_ms.map(|most| format!("{} of {}", duration(report.run.duration_ms), duration(most))),
    ];
    let ceilings: Vec<String> = ceilings.into_iter().flatten().collect();
    _ = writeln!(text, "## Costs\n");
    if !ceilings.is_empty() {
        _ = writeln!(text, "Of its budget: {}.\n", ceilings.join(", "));
    }
    for (head, costs) in [("role", &report.costs_by_role), ("node", &report.costs_by_node)] {
        if costs.is_empty() {
            continue;
        }
        _ = writeln!(text, "| {head} | leaves | attempts | tokens in | tokens out | cost |\n|---|---|---|---|---|---|");
        for cost in costs {
            _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                code(&cost.name),
                cost.leaves,
                cost.attempts,
                known(cost.usage.input_tokens.map(amount)),
                known(cost.usage.output_tokens.map(amount)),
                known(cost.usage.cost_usd_micros.map(money))
            );
        }
        text.push('\n');
    }
}

/// Who did the roles, and who was passed over.
fn models(text: &mut String, report: &ReportView) {
    if report.models.is_empty() {
        return;
    }
    _ = writeln!(text, "## Models\n");
    _ = writeln!(text, "| role | model | leaves | a million tokens in | out |\n|---|---|---|---|---|");
    for model in &report.models {
        let of = |name: &str| {
            let price = model.price.as_ref().and_then(|price| price.get(name).as_int());
            known(price.and_then(|micros| u64::try_from(micros).ok()).map(money))
        };
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            code(&model.role),
            code(&model.model),
            model.leaves,
            of("input"),
            of("output")
        );
    }
    text.push('\n');
    let mut is_any = false;
    for model in &report.models {
        for over in &model.passed_over {
            is_any = true;
            let (role, over, why) = (code(&model.role), code(&over.model), plain(&over.why));
            _ = writeln!(text, "- {role} was not done by {over}: {why}");
        }
    }
    if is_any {
        text.push('\n');
    }
}

fn slowest(text: &mut String, report: &ReportView) {
    if report.slowest.is_empty() {
        return;
    }
    _ = writeln!(text, "## Slowest\n");
    for slow in &report.slowest {
        let attempts = if slow.attempts > 1 { format!(" in {} attempts", slow.attempts) } else { String::new() };
        _ = writeln!(text, "- {}: {}{attempts}", code(&slow.path), duration(slow.elapsed_ms));
    }
    text.push('\n');
}

fn failures(text: &mut String, report: &ReportView) {
    if report.failures.is_empty() {
        return;
    }
    _ = writeln!(text, "## Failures\n");
    for failure in &report.failures {
        let reason = &failure.reason;
        _ = writeln!(text, "### {}\n", code(&reason.path));
        let attempts = counted(u64::from(failure.attempts), "attempt", "attempts");
        _ = writeln!(
            text,
            "{} after {attempts}: {} ({})\n",
            plain(failure.status),
            plain(&reason.message),
            code(&reason.code)
        );
        if let Some(evidence) = &failure.evidence {
            fenced(text, evidence);
        }
    }
    let more = report.failures_total - report.failures.len() as u64;
    if more > 0 {
        _ = writeln!(text, "And {}.\n", counted(more, "more failure", "more failures"));
    }
}

fn people(text: &mut String, report: &ReportView) {
    if !report.commands.is_empty() {
        _ = writeln!(text, "## What people did\n");
        for note in &report.commands {
            let subject = note.subject.as_ref().map_or_else(String::new, |subject| format!(" {}", code(subject)));
            let refused = note.refused.as_ref().map_or_else(String::new, |why| format!(", refused: {}", plain(why)));
            _ = writeln!(text, "- {}: {} {}{subject}{refused}", note.at, plain(&note.by), note.verb);
        }
        text.push('\n');
    }
    if !report.rescued.is_empty() {
        _ = writeln!(text, "## Kept work\n");
        for rescued in &report.rescued {
            _ = writeln!(text, "- {}: {}", code(&rescued.path), code(&rescued.name));
        }
        text.push('\n');
    }
}

fn next(text: &mut String, report: &ReportView) {
    if report.next.is_empty() {
        return;
    }
    _ = writeln!(text, "## What to do next\n");
    for next in &report.next {
        match &next.command {
            Some(command) => _ = writeln!(text, "- {}: {}", plain(&next.what), code(command)),
            None => _ = writeln!(text, "- {}", plain(&next.what)),
        }
    }
}

fn value(text: &mut String, title: &str, value: Option<&Value>) {
    let Some(value) = value.filter(|value| **value != Value::Null) else { return };
    _ = writeln!(text, "## {title}\n");
    fenced(text, value);
}

/// A value as a block of JSON that nothing in it can end.
fn fenced(text: &mut String, value: &Value) {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    let json = clean_lines(&json);
    let cut = json.char_indices().nth(VALUE_CHARS_MAX).map(|(at, _)| at);
    let shown = &json[..cut.unwrap_or(json.len())];
    let fence = "`".repeat(longest_run(shown).max(2) + 1);
    _ = writeln!(text, "{fence}json\n{shown}\n{fence}\n");
    if cut.is_some() {
        _ = writeln!(text, "The value is longer; `whaleflow show` prints all of it.\n");
    }
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// Foreign text as plain Markdown text of one line.
fn plain(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for character in clean(text).chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!') {
            made.push('\\');
        }
        made.push(character);
    }
    made
}

/// Foreign text as code, also within a table.
fn code(text: &str) -> String {
    let text = clean(text).replace('|', "\\|");
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn passed(passed: Option<bool>) -> &'static str {
    match passed {
        Some(true) => "passed",
        Some(false) => "failed",
        None => "unknown",
    }
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "unknown".to_owned())
}

fn usage(usage: &UsageView) -> String {
    let tokens = |count: Option<u64>| known(count.map(amount));
    format!(
        "{} tokens in, {} out, {}",
        tokens(usage.input_tokens),
        tokens(usage.output_tokens),
        known(usage.cost_usd_micros.map(money))
    )
}
