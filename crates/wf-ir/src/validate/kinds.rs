//! Second pass, kind by kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::draft::{Span, Spanned, SpannedValue};
use crate::expr::Expr;
use crate::fields::KindTag;
use crate::limits::FAN_OUT_MAX;
use crate::node::{
    Agent, Approve, Ask, Candidates, Command, Contest, Driver, How, Keep, Kind, MemoPolicy, Memory, NodeIx, Objective,
    OnFailure, OnLimit, OnTimeout, Reduce, Search, Template, Test, Tournament, Wait,
};
use crate::value::Value;

use super::forms::regex_fault;
use super::lower::{Lowering, Want, count_of, entry, globs, index, kind_word, millis, texts};
use super::normal::RawNode;
use super::scope::Place;

impl<'w> Lowering<'w, '_> {
    /// What a node does; nothing when something it needs is missing or wrong, which has been said then.
    pub(super) fn kind(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        match raw.tag? {
            KindTag::Agent => self.agent(ix).map(Kind::Agent),
            KindTag::Ask => self.ask(ix).map(Kind::Ask),
            KindTag::Command => self.command(ix).map(Kind::Command),
            KindTag::Test => self.test(ix).map(Kind::Test),
            KindTag::Search => self.search(ix).map(Kind::Search),
            KindTag::Memory => self.memory(ix).map(Kind::Memory),
            KindTag::Approve => self.approve(ix).map(Kind::Approve),
            KindTag::Wait => self.wait(ix).map(Kind::Wait),
            KindTag::Branch => Some(Kind::Branch { children: list(raw, 0) }),
            KindTag::Parallel => Some(Kind::Parallel {
                children: list(raw, 0),
                width: number(raw, "width")?,
                min_ok: number(raw, "min_ok")?,
                keep: if raw.text("keep")? == "all" { Keep::All } else { Keep::FirstSuccess },
                on_failure: on_failure(raw)?,
            }),
            KindTag::Sequence => Some(Kind::Sequence { children: list(raw, 0), on_failure: on_failure(raw)? }),
            KindTag::Reduce => self.reduce(ix).map(Kind::Reduce),
            KindTag::Pareto => self.pareto(ix),
            KindTag::Tournament => self.tournament(ix).map(Kind::Tournament),
            KindTag::LoopUntil => self.loop_until(ix),
            KindTag::Cond => {
                let condition = self.expr_field(ix, "condition", Place::Node(ix), Want::Bool);
                Some(Kind::Cond { condition: condition?, then: list(raw, 0), otherwise: list(raw, 1) })
            }
            KindTag::Expand => self.expand(ix),
            KindTag::Call => {
                let inputs = self.exprs(ix, "inputs");
                Some(Kind::Call { workflow: raw.text("workflow")?.to_owned(), inputs })
            }
            KindTag::Rlm => self.rlm(ix),
            KindTag::TeacherReview => self.teacher_review(ix),
        }
    }

    fn exprs(&mut self, ix: usize, name: &str) -> BTreeMap<String, Expr> {
        match self.raw.nodes[ix].fields.get(name) {
            Some(field) => self.expr_map(name, field, Place::Node(ix)),
            None => BTreeMap::new(),
        }
    }

    fn agent(&mut self, ix: usize) -> Option<Agent> {
        let raw = &self.raw.nodes[ix];
        let prompt = self.template_field(ix, "prompt");
        let vars = self.vars(ix);
        let ensure = self.expr_field(ix, "ensure", Place::Ensure(ix), Want::Bool);
        let resumes = raw.fields.get("resumes").and_then(|field| self.resumed(ix, field));
        let tasks = raw.fields.get("tasks").and_then(|tasks| count_of(entry(tasks, "max")));
        Some(Agent {
            tasks_max: tasks.and_then(|max| u32::try_from(max).ok()).unwrap_or(0),
            prompt: prompt?,
            vars,
            reads: globs(raw.items("reads")),
            writes: globs(raw.items("writes")),
            output: schema(raw, "output"),
            driver: match raw.text("driver")? {
                "acp" => Driver::Acp,
                "cli" => Driver::Cli,
                _ => Driver::Native,
            },
            resumes,
            artifacts: globs(raw.items("artifacts")),
            ensure,
            memo: memo(raw),
        })
    }

    fn resumed(&mut self, ix: usize, field: &Spanned) -> Option<NodeIx> {
        let SpannedValue::Str(id) = &field.value else { return None };
        let to = self.need(ix, id, &field.span)?;
        let target = &self.raw.nodes[to];
        if target.tag.is_some_and(|tag| tag != KindTag::Agent) {
            let message = format!("`resumes` needs an agent, and `{id}` is {}", kind_word(target));
            self.report.error(codes::WRONG_KIND, &field.span, message);
            return None;
        }
        Some(index(to))
    }

    fn ask(&mut self, ix: usize) -> Option<Ask> {
        let raw = &self.raw.nodes[ix];
        let prompt = self.template_field(ix, "prompt");
        let vars = self.vars(ix);
        let ensure = self.expr_field(ix, "ensure", Place::Ensure(ix), Want::Bool);
        Some(Ask {
            prompt: prompt?,
            vars,
            output: schema(raw, "output"),
            ensure,
            memo: memo(raw),
            // An inner ask has no sample of its own.
            sample: number(raw, "sample").unwrap_or(0),
        })
    }

    fn argv(&mut self, ix: usize) -> Option<Vec<Template>> {
        let raw = &self.raw.nodes[ix];
        let items = raw.items("argv");
        let argv: Vec<Template> = items.iter().filter_map(|item| self.template(ix, item)).collect();
        if let Some((program, span)) = texts(items).next()
            && program.is_empty()
        {
            self.report.error(codes::BAD_PATH, span, "the program of `argv` is empty");
        }
        (!argv.is_empty() && argv.len() == items.len()).then_some(argv)
    }

    fn command(&mut self, ix: usize) -> Option<Command> {
        let raw = &self.raw.nodes[ix];
        let argv = self.argv(ix);
        let vars = self.vars(ix);
        let ok_exit = raw.items("ok_exit").iter().filter_map(|code| match code.value {
            SpannedValue::Int(code) => i32::try_from(code).ok(),
            _ => None,
        });
        Some(Command {
            argv: argv?,
            vars,
            cwd: raw.text("cwd")?.to_owned(),
            env: strings(raw, "env"),
            writes: globs(raw.items("writes")),
            ok_exit: ok_exit.collect(),
            repeatable: truth(raw, "repeatable"),
            artifacts: globs(raw.items("artifacts")),
        })
    }

    fn test(&mut self, ix: usize) -> Option<Test> {
        let raw = &self.raw.nodes[ix];
        let argv = self.argv(ix);
        let vars = self.vars(ix);
        Some(Test {
            argv: argv?,
            vars,
            cwd: raw.text("cwd")?.to_owned(),
            env: strings(raw, "env"),
            expect: raw.text("expect").map(str::to_owned),
        })
    }

    fn search(&mut self, ix: usize) -> Option<Search> {
        let raw = &self.raw.nodes[ix];
        let pattern = self.template_field(ix, "pattern");
        let vars = self.vars(ix);
        if let Some(pattern) = pattern.as_ref().filter(|pattern| !pattern.source.contains("{{")) {
            let templated = pattern.source.contains("{%") || pattern.source.contains("{#");
            if let Some(fault) = regex_fault(&pattern.source).filter(|_| !templated) {
                self.report.error(codes::BAD_REGEX, raw.span_of("pattern"), format!("`pattern`: {fault}"));
            }
        }
        Some(Search { pattern: pattern?, vars, reads: globs(raw.items("reads")), matches_max: number(raw, "limit")? })
    }

    fn memory(&mut self, ix: usize) -> Option<Memory> {
        let raw = &self.raw.nodes[ix];
        let key = self.template_field(ix, "key");
        let content = self.expr_field(ix, "content", Place::Node(ix), Want::Any);
        let op = raw.text("op")?;
        let given = raw.given.contains("content");
        if op == "write" && !given {
            self.report.error(codes::MISSING_KEY, &raw.span, "`memory` needs `content` to write it");
        } else if op == "read" && given {
            self.report.error(codes::USELESS_FIELD, raw.span_of("content"), "`content` means nothing to a read");
        }
        Some(Memory { op: op.to_owned(), store: raw.text("store")?.to_owned(), key: key?, content })
    }

    fn approve(&mut self, ix: usize) -> Option<Approve> {
        let raw = &self.raw.nodes[ix];
        let prompt = self.template_field(ix, "prompt");
        let vars = self.vars(ix);
        let shows = self.exprs(ix, "shows");
        Some(Approve {
            prompt: prompt?,
            vars,
            shows,
            form: schema(raw, "form"),
            by: strings(raw, "by"),
            on_timeout: match raw.text("on_timeout")? {
                "reject" => OnTimeout::Reject,
                "approve" => OnTimeout::Approve,
                _ => OnTimeout::Fail,
            },
        })
    }

    fn wait(&mut self, ix: usize) -> Option<Wait> {
        let raw = &self.raw.nodes[ix];
        self.exactly_one(raw, &["duration", "signal"]);
        let duration = millis(raw, "duration").map(|ms| Wait::Duration { ms });
        duration.or_else(|| raw.text("signal").map(|name| Wait::Signal { name: name.to_owned() }))
    }

    fn exactly_one(&mut self, raw: &RawNode, names: &[&'static str]) {
        let given = names.iter().filter(|name| raw.given.contains(**name)).count();
        if given != 1 {
            let word = raw.tag.map_or("node", KindTag::as_str);
            let message = format!("`{word}` needs exactly one of `{}`, and has {given}", names.join("` and `"));
            self.report.error(codes::EXACTLY_ONE, &raw.span, message);
        }
    }

    /// Where candidates come from: a parallel, an expand, or a list of nodes.
    fn candidates(&mut self, ix: usize, name: &str) -> Option<Candidates> {
        let field = self.raw.nodes[ix].fields.get(name)?;
        match &field.value {
            SpannedValue::Str(id) => {
                let to = self.need(ix, id, &field.span)?;
                let set = matches!(self.raw.nodes[to].tag, Some(KindTag::Parallel | KindTag::Expand));
                Some(if set { Candidates::Set(index(to)) } else { Candidates::List(vec![index(to)]) })
            }
            SpannedValue::List(items) => {
                let nodes = self.distinct(ix, items);
                (nodes.len() == items.len()).then_some(Candidates::List(nodes))
            }
            _ => None,
        }
    }

    fn distinct(&mut self, ix: usize, items: &'w [Spanned]) -> Vec<NodeIx> {
        let mut nodes = Vec::new();
        let mut seen = BTreeSet::new();
        for (id, span) in texts(items) {
            let Some(to) = self.need(ix, id, span) else { continue };
            if seen.insert(to) {
                nodes.push(index(to));
            } else {
                self.report.error(codes::CANDIDATE_TWICE, span, format!("`{id}` is listed twice"));
            }
        }
        nodes
    }

    fn reduce(&mut self, ix: usize) -> Option<Reduce> {
        let raw = &self.raw.nodes[ix];
        let inputs = self.candidates(ix, "inputs");
        let how = raw.text("how");
        let want = match how {
            Some("best") => Want::Number,
            Some("combine") => Want::Bool,
            _ => Want::Any,
        };
        let by = self.expr_field(ix, "by", Place::Candidate(ix), want);
        let how = how?;
        let has_by = raw.given.contains("by");
        let model = how == "model";
        if has_by && !matches!(how, "vote" | "best" | "combine") {
            self.useless(raw, "by", how);
        }
        if how == "combine" && raw.given.contains("on_empty") {
            self.useless(raw, "on_empty", how);
        }
        if how != "combine" && raw.given.contains("take") {
            self.useless(raw, "take", how);
        }
        if how == "best" && !has_by {
            self.report.error(codes::MISSING_KEY, &raw.span, "`reduce` needs `by` to find the best");
        }
        if model && !raw.given.contains("prompt") {
            self.report.error(codes::MISSING_KEY, &raw.span, "`reduce` needs `prompt` to ask a model");
        }
        for name in ["prompt", "output"] {
            if !model && raw.given.contains(name) {
                self.useless(raw, name, how);
            }
        }
        let how = match how {
            "concat" => How::Concat,
            "merge" => How::Merge,
            "vote" => How::Vote { by },
            "best" => How::Best { by: by? },
            "combine" => {
                self.one_tournament(ix, inputs.as_ref()?)?;
                How::Combine { take: strings(raw, "take"), by }
            }
            _ => How::Model { ask: self.inner(ix)? },
        };
        Some(Reduce { inputs: inputs?, how, on_empty: raw.fields.get("on_empty").map(Spanned::to_value) })
    }

    /// What is combined is the outcome of one tournament, which must offer some of what is taken.
    fn one_tournament(&mut self, ix: usize, inputs: &Candidates) -> Option<()> {
        let raw = &self.raw.nodes[ix];
        let span = raw.span_of("inputs");
        let nodes = inputs.nodes();
        let other =
            nodes.iter().map(|node| &self.raw.nodes[node.0 as usize]).find(|node| !node.is(KindTag::Tournament));
        let [contest] = nodes else {
            let message = format!("`combine` needs one tournament, and `inputs` names {} nodes", nodes.len());
            self.report.error(codes::WRONG_KIND, span, message);
            return None;
        };
        if let Some(other) = other {
            if other.tag.is_some() {
                let message = format!("`combine` needs a tournament, and `{}` is {}", other.id, kind_word(other));
                self.report.error(codes::WRONG_KIND, span, message);
            }
            return None;
        }
        let contest = &self.raw.nodes[contest.0 as usize];
        let offered = strings(contest, "harvest");
        let taken = strings(raw, "take");
        // Its default is both, whatever the tournament offers; nothing of either is a mistake.
        if let Some(missing) = taken.first().filter(|_| taken.iter().all(|what| !offered.contains(what))) {
            let message = format!("`{}` takes {missing:?}, which `{}` does not harvest", raw.id, contest.id);
            let hint = format!("add {missing:?} to the `harvest` of `{}`", contest.id);
            self.report.hinted(codes::USELESS_FIELD, raw.span_of("take"), message, Some(hint));
        }
        Some(())
    }

    fn useless(&mut self, raw: &RawNode, field: &str, how: &str) {
        let message = format!("`{field}` means nothing when `how` is {how:?}");
        self.report.error(codes::USELESS_FIELD, raw.span_of(field), message);
    }

    /// The ask that a node makes for itself; it stands right behind it.
    fn inner(&self, ix: usize) -> Option<NodeIx> {
        let next = self.raw.nodes.get(ix + 1)?;
        (next.inner && next.parent == Some(ix)).then(|| index(ix + 1))
    }

    fn pareto(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        let candidates = self.candidates(ix, "candidates");
        let items = raw.items("objectives");
        let mut objectives = Vec::new();
        for item in items {
            let Some(by) = entry(item, "by") else { continue };
            let maximize = !matches!(entry(item, "goal").map(|goal| &goal.value),
                Some(SpannedValue::Str(goal)) if goal == "min");
            if let Some(by) = self.expr("objectives.by", by, Place::Candidate(ix), Want::Number) {
                objectives.push(Objective { by, maximize });
            }
        }
        let whole = !items.is_empty() && objectives.len() == items.len();
        let max_items = number(raw, "max_items")?;
        Some(Kind::Pareto { candidates: candidates?, objectives: whole.then_some(objectives)?, max_items })
    }

    fn tournament(&mut self, ix: usize) -> Option<Tournament> {
        let raw = &self.raw.nodes[ix];
        let candidates = self.candidates(ix, "candidates");
        let require = self.expr_field(ix, "require", Place::Candidate(ix), Want::Bool);
        let by = self.expr_field(ix, "by", Place::Candidate(ix), Want::Number);
        self.exactly_one(raw, &["by", "judge"]);
        let contest = match by {
            Some(by) => Contest::Score { by },
            None => Contest::Judge { ask: self.inner(ix)? },
        };
        Some(Tournament { candidates: candidates?, require, contest, harvest: strings(raw, "harvest") })
    }

    fn loop_until(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        let until = self.expr_field(ix, "until", Place::Until(ix), Want::Bool);
        Some(Kind::LoopUntil {
            children: list(raw, 0),
            until: until?,
            iterations_max: number(raw, "max_iterations")?,
            on_limit: if raw.text("on_limit")? == "accept" { OnLimit::Accept } else { OnLimit::Fail },
            samples: truth(raw, "samples"),
        })
    }

    fn expand(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        let over = self.expr_field(ix, "over", Place::Node(ix), Want::ListOrInt);
        let width = self.expr_field(ix, "width", Place::Node(ix), Want::Int);
        let literal = raw.text("width").and_then(|width| width.parse::<i64>().ok());
        let widest = i64::try_from(FAN_OUT_MAX).unwrap_or(i64::MAX);
        if literal.is_some_and(|width| !(1..=widest).contains(&width)) {
            let message = format!("`width` must be from 1 to {widest}");
            self.report.error(codes::OUT_OF_RANGE, raw.span_of("width"), message);
        }
        Some(Kind::Expand {
            children: list(raw, 0),
            over: over?,
            width: width?,
            children_max: number(raw, "max_children")?,
            min_ok: number(raw, "min_ok")?,
            on_failure: on_failure(raw)?,
        })
    }

    fn rlm(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        let context = self.expr_field(ix, "context", Place::Node(ix), Want::Any);
        let query = self.template_field(ix, "query");
        let depth_max = number(raw, "max_depth")?;
        let calls_max = number(raw, "max_calls")?;
        Some(Kind::Rlm { context: context?, query: query?, depth_max, calls_max })
    }

    fn teacher_review(&mut self, ix: usize) -> Option<Kind> {
        let raw = &self.raw.nodes[ix];
        let of = self.distinct(ix, raw.items("of"));
        let policy = raw.text("policy")?.to_owned();
        let review = self.inner(ix)?;
        Some(Kind::TeacherReview { of: of.into_iter().collect(), policy, review })
    }
}

fn list(raw: &RawNode, side: usize) -> Vec<NodeIx> {
    raw.lists.get(side).map(|(_, list)| list.iter().map(|ix| index(*ix)).collect()).unwrap_or_default()
}

/// A number that the first pass has bounded.
pub(super) fn number(raw: &RawNode, name: &str) -> Option<u32> {
    match raw.fields.get(name)?.value {
        SpannedValue::Int(number) => u32::try_from(number).ok(),
        _ => None,
    }
}

fn truth(raw: &RawNode, name: &str) -> bool {
    matches!(raw.fields.get(name).map(|field| &field.value), Some(SpannedValue::Bool(true)))
}

fn strings(raw: &RawNode, name: &str) -> Vec<String> {
    texts(raw.items(name)).map(|(text, _): (&str, &Span)| text.to_owned()).collect()
}

fn schema(raw: &RawNode, name: &str) -> Option<Value> {
    raw.fields.get(name).map(Spanned::to_value)
}

fn memo(raw: &RawNode) -> MemoPolicy {
    if raw.text("memo") == Some("off") { MemoPolicy::Off } else { MemoPolicy::Auto }
}

fn on_failure(raw: &RawNode) -> Option<OnFailure> {
    Some(if raw.text("on_failure")? == "abort" { OnFailure::Abort } else { OnFailure::Continue })
}
