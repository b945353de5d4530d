//! The JSON schemas of the wire types: one document, with a definition for each.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    ApplyView, CheckView, CleanView, CommandView, CommandsView, DiffView, DoctorView, ErrorView, ExplainView,
    GatesView, GraphView, InstanceDetail, LogLine, PlanView, ReplayView, ReportView, RescuesView, RunDetail, RunList,
    RunSummary, TaskWhyView, TasksView, TreeStatusView, TreesView, VerifyView, WhyView, WorkerReportView, WorkersView,
};

/// The JSON schemas of all wire types, as pretty JSON with a final newline.
pub fn view_schema() -> String {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut roots = serde_json::Map::new();
    let mut add = |name: &str, schema: Schema| {
        roots.insert(name.to_owned(), schema.to_value());
    };
    add("apply", reference::<ApplyView>(&mut generator));
    add("check", reference::<CheckView>(&mut generator));
    add("clean", reference::<CleanView>(&mut generator));
    add("command", reference::<CommandView>(&mut generator));
    add("commands", reference::<CommandsView>(&mut generator));
    add("diff", reference::<DiffView>(&mut generator));
    add("doctor", reference::<DoctorView>(&mut generator));
    add("error", reference::<ErrorView>(&mut generator));
    add("explain", reference::<ExplainView>(&mut generator));
    add("gates", reference::<GatesView>(&mut generator));
    add("graph", reference::<GraphView>(&mut generator));
    add("instance", reference::<InstanceDetail>(&mut generator));
    add("log_line", reference::<LogLine>(&mut generator));
    add("plan", reference::<PlanView>(&mut generator));
    add("replay", reference::<ReplayView>(&mut generator));
    add("report", reference::<ReportView>(&mut generator));
    add("rescues", reference::<RescuesView>(&mut generator));
    add("run_detail", reference::<RunDetail>(&mut generator));
    add("run_list", reference::<RunList>(&mut generator));
    add("run_summary", reference::<RunSummary>(&mut generator));
    add("task_why", reference::<TaskWhyView>(&mut generator));
    add("tasks", reference::<TasksView>(&mut generator));
    add("tree", reference::<TreeStatusView>(&mut generator));
    add("trees", reference::<TreesView>(&mut generator));
    add("verify", reference::<VerifyView>(&mut generator));
    add("why", reference::<WhyView>(&mut generator));
    add("worker_report", reference::<WorkerReportView>(&mut generator));
    add("workers", reference::<WorkersView>(&mut generator));
    let definitions = generator.take_definitions(true);
    let document = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "whaleflow views, version 1",
        "description": "Every object that a command prints with --json is one of these.",
        "properties": roots,
        "$defs": definitions,
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text + "\n"
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The version of the wire JSON.
pub(crate) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

/// A value of a workflow: any JSON.
pub(crate) fn any(_: &mut SchemaGenerator) -> Schema {
    Schema::from(true)
}

/// Values of a workflow by name.
pub(crate) fn any_by_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": true })
}

/// Where a run stands.
pub(crate) fn run_status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "enum": ["running", "waiting", "paused", "poisoned", "cancelling", "succeeded", "failed", "cancelled", "budget_exceeded"]
    })
}

/// Where a task stands.
pub(crate) fn task_status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["pending", "claimed", "done", "blocked", "failed"] })
}

/// Where an instance stands.
pub(crate) fn status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "enum": [
            "pending", "ready", "running", "waiting", "succeeded", "failed", "skipped", "cancelled", "timed_out",
            "budget_exceeded", "in_doubt"
        ]
    })
}

/// What the engine's own tests say.
pub(crate) fn verified(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["passed", "failed", "none"] })
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    #[test]
    fn schema_is_the_golden_file() {
        expect_file!["../../../schema/view.schema.json"].assert_eq(&super::view_schema());
    }
}
