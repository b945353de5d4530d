//! The simulator: virtual time, effects that answer once, twice, late or never, owners that die after any append.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wf_ir::node::Budget;
use wf_ir::{Kind, Workflow};
use wf_kernel::record::{Adopted, Base, EffectOutcome, Metered, Origin, RunStarted, Success, WorkerLost};
use wf_kernel::state::RunEnd;
use wf_kernel::{
    Amount, Command, Decision, Effect, EffectId, Input, InputBody, Outcome, Record, Replay, Request, RunState,
    RunStatus, Stage, TopUp, Usage, ValueRef, in_flight, outstanding, step,
};

use crate::world::{Draw, Weather, answer};

/// Most inputs of one simulated run; a run that needs more does not end.
const INPUTS_MAX: usize = 20_000;

/// What a simulation did.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) records: Vec<Record>,
    pub(crate) end: RunEnd,
    pub(crate) crashes: u32,
    pub(crate) workers_lost: u32,
    pub(crate) refused: u32,
    pub(crate) performed: u32,
    /// Questions for more budget that were answered with no, and with yes.
    pub(crate) topups: [u32; 2],
    /// Tokens that ended attempts were charged.
    pub(crate) settled: u64,
}

/// How a simulation is disturbed, in percent.
#[derive(Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) crashes: u64,
    pub(crate) duplicates: u64,
    pub(crate) losses: u64,
    pub(crate) commands: u64,
    /// Of the leaves that go to workers of other processes.
    pub(crate) remote: u64,
    /// Of the turns in which a worker dies.
    pub(crate) worker_deaths: u64,
}

pub(crate) const CALM: Trouble =
    Trouble { crashes: 0, duplicates: 0, losses: 0, commands: 0, remote: 0, worker_deaths: 0 };

/// Workers of other processes.
const WORKERS: u64 = 3;

struct Simulator {
    workflow: Arc<Workflow>,
    seed: u64,
    weather: Weather,
    trouble: Trouble,
    draw: Draw,
    state: RunState,
    records: Vec<Record>,
    now: i64,
    /// Outcomes on their way, by time and order.
    arriving: BTreeMap<(i64, u64), EffectOutcome>,
    next: u64,
    /// Agents that ask, and their questions on their way.
    asking: BTreeMap<EffectId, Asking>,
    questions: BTreeMap<(i64, u64), Metered>,
    topups: [u32; 2],
    /// What workers of other processes perform; they live on when the owner dies.
    remote: BTreeMap<EffectId, u64>,
    epoch: u64,
    inputs: usize,
    crashes: u32,
    workers_lost: u32,
    refused: u32,
    performed: u32,
    retried: bool,
    /// Attempts that were given a result, each at most once.
    results: BTreeSet<(String, u32)>,
}

/// An agent in flight that asks for more budget before each call.
struct Asking {
    asked: u32,
    /// How many calls it has before it.
    more: u32,
    held: Amount,
    spent: Amount,
    wanted: Amount,
    /// What it comes to if it may go on.
    outcome: Outcome,
}

/// For how many calls an attempt asks, beyond the first.
fn calls_of(seed: u64, effect: &Effect) -> u32 {
    let Request::Perform { leaf, .. } = &effect.request else { return 0 };
    let drawn = wf_ir::Digest::of_json(&(seed, "calls", &*leaf.path)).0[0];
    u32::from(drawn % 8).saturating_sub(4)
}

/// Runs a workflow to its end in a simulated world.
pub(crate) fn simulate(workflow: &Arc<Workflow>, seed: u64, weather: Weather, trouble: Trouble) -> Simulated {
    let mut simulator = Simulator {
        workflow: workflow.clone(),
        seed,
        weather,
        trouble,
        draw: Draw(seed ^ 0x5eed),
        state: RunState::new(workflow.clone()),
        records: Vec::new(),
        now: 1_000,
        arriving: BTreeMap::new(),
        next: 0,
        asking: BTreeMap::new(),
        questions: BTreeMap::new(),
        topups: [0; 2],
        remote: BTreeMap::new(),
        epoch: 1,
        inputs: 0,
        crashes: 0,
        workers_lost: 0,
        refused: 0,
        performed: 0,
        retried: false,
        results: BTreeSet::new(),
    };
    simulator.take(InputBody::RunStarted(Box::new(started(workflow, seed))));
    simulator.run();
    simulator.check_replay();
    let end = simulator.state.end().cloned().unwrap();
    Simulated {
        records: simulator.records,
        end,
        crashes: simulator.crashes,
        workers_lost: simulator.workers_lost,
        refused: simulator.refused,
        performed: simulator.performed,
        topups: simulator.topups,
        settled: simulator.state.ledger().settled.tokens,
    }
}

pub(crate) fn started(workflow: &Workflow, seed: u64) -> RunStarted {
    RunStarted {
        semantics: wf_kernel::record::SEMANTICS,
        run_id: "sim".to_owned(),
        workflow: workflow.hash(),
        workflow_name: workflow.name().to_owned(),
        inputs: BTreeMap::new(),
        seed,
        budget: Budget::default(),
        base: Some(Base {
            commit: "base".to_owned(),
            tree: "tree-base".to_owned(),
            source: "commit".to_owned(),
            at_ms: 0,
        }),
        origin: Origin::Test,
        parent: None,
        labels: BTreeMap::new(),
        catalog: wf_ir::Digest::of(b"sim"),
        sandbox: "none".to_owned(),
        repo: None,
        rules: None,
    }
}

impl Simulator {
    fn run(&mut self) {
        while self.state.end().is_none() || !in_flight(&self.state).is_empty() {
            assert!(self.inputs < INPUTS_MAX, "the run does not end\n{}", self.tail());
            if self.draw.chance(self.trouble.crashes) {
                self.crash();
                continue;
            }
            if self.draw.chance(self.trouble.worker_deaths) {
                let worker = self.draw.below(WORKERS);
                self.lose_worker(worker);
                continue;
            }
            self.go_on_or_meddle();
            let failed = self.state.end().is_some_and(|end| end.status != RunStatus::Succeeded);
            if failed && !self.retried && self.draw.chance(self.trouble.commands * 5) {
                self.retried = true;
                self.command(Command::Retry { path: None, by: "person".to_owned() });
            }
        }
    }

    fn go_on_or_meddle(&mut self) {
        if self.state.end().is_none() && self.draw.chance(self.trouble.commands) {
            self.meddle();
        } else {
            self.go_on();
        }
    }

    /// The next thing that happens: an outcome arrives, a timer fires, or, when nothing else can, a person acts.
    fn go_on(&mut self) {
        let arrival = self.arriving.keys().next().copied();
        let question = self.questions.keys().next().copied();
        if let Some(key) = question.filter(|key| arrival.is_none_or(|arrival| *key < arrival))
            && self.state.next_timer().is_none_or(|(due, _)| key.0 <= due)
        {
            self.now = self.now.max(key.0);
            if let Some(question) = self.questions.remove(&key) {
                self.take(InputBody::Metered(question));
            }
            return;
        }
        let timer = self.state.next_timer().map(|(due, id)| (due, id.clone()));
        match (arrival, timer) {
            (Some(key), timer) if timer.as_ref().is_none_or(|(due, _)| key.0 <= *due) => {
                self.now = self.now.max(key.0);
                if let Some(outcome) = self.arriving.remove(&key) {
                    self.take(InputBody::Outcome(outcome));
                }
            }
            (_, Some((due, id))) => {
                self.now = self.now.max(due);
                self.take(InputBody::TimerFired(id));
            }
            (_, None) => self.unblock(),
        }
    }

    /// Nothing will come by itself: either answers were lost, which a new owner finds out, or a person is waited for.
    fn unblock(&mut self) {
        let resume = |path| Command::Resume { path, raise: Budget::default(), by: "person".to_owned() };
        if matches!(self.state.status(), RunStatus::Paused | RunStatus::Poisoned) {
            return self.command(resume(None));
        }
        let flying = in_flight(&self.state);
        if let Some(worker) = flying.iter().find_map(|effect| self.remote.get(effect).copied()) {
            return self.lose_worker(worker);
        }
        if !flying.is_empty() {
            return self.crash();
        }
        let paused = self.state.paused().next().map(|it| it.path.to_string());
        if let Some(path) = paused {
            return self.command(resume(Some(path)));
        }
        let waiting = self.state.live().find_map(|it| match it.stage {
            Stage::Doubt => Some((it.path.to_string(), true)),
            Stage::Gate(_) => Some((it.path.to_string(), false)),
            _ => None,
        });
        match waiting {
            Some((path, true)) => self.command(Command::Retry { path: Some(path), by: "person".to_owned() }),
            Some((path, false)) => self.decide(path, true),
            None => panic!("nothing can go on\n{}", self.tail()),
        }
    }

    fn decide(&mut self, path: String, approved: bool) {
        let by = "person".to_owned();
        self.command(Command::Decide { path, digest: None, approved, data: wf_ir::Value::Null, by });
    }

    /// Somebody does something unasked.
    fn meddle(&mut self) {
        let by = "person".to_owned();
        let live: Vec<String> = self.state.live().map(|it| it.path.to_string()).collect();
        let any = live.get(self.draw.below(live.len() as u64) as usize).cloned();
        let some = any.clone().filter(|_| self.draw.chance(70));
        let command = match self.draw.below(8) {
            0 => Command::Pause { path: some, now: self.draw.chance(50), by },
            1 => Command::Resume { path: some, raise: Budget::default(), by },
            7 => match any {
                Some(path) => Command::Steer { path, text: "mind the gap".to_owned(), by },
                None => return self.go_on(),
            },
            2 => Command::Signal { name: "go".to_owned(), payload: wf_ir::Value::Null, by },
            3 => Command::Retry { path: any, by },
            4 if self.draw.chance(20) => Command::Cancel { path: None, by },
            4 => Command::Cancel { path: any, by },
            _ => match any {
                Some(path) => return self.decide(path, self.seed.is_multiple_of(2)),
                None => return self.go_on(),
            },
        };
        self.command(command);
    }

    fn command(&mut self, command: Command) {
        self.take(InputBody::Command(command));
    }

    /// The owner dies: memory is gone, answers on their way may be lost or come late, and a new owner adopts the run.
    fn crash(&mut self) {
        self.crashes += 1;
        let folded = fold(&self.workflow, &self.records);
        assert_eq!(self.state.difference(&folded), None, "the fold differs from the live state\n{}", self.tail());
        self.state = folded;
        let lost = self.draw.chance(50);
        if lost {
            let remote = &self.remote;
            self.arriving.retain(|_, arriving| remote.contains_key(&arriving.effect));
        }
        let remote = &self.remote;
        self.asking.retain(|effect, _| remote.contains_key(effect));
        self.epoch += 1;
        let claimed = in_flight(&self.state).into_iter().filter(|effect| !self.remote.contains_key(effect)).collect();
        let died = self.draw.chance(90);
        let adopted = Adopted { owner: format!("owner {}", self.epoch), epoch: self.epoch, claimed, died };
        self.take(InputBody::Adopted(adopted));
    }

    /// A worker dies, with what it performs; what it had reported may still arrive, late.
    fn lose_worker(&mut self, worker: u64) {
        self.workers_lost += 1;
        let flying = in_flight(&self.state);
        let is_its = |effect: &&EffectId| self.remote.get(*effect) == Some(&worker);
        let claimed: Vec<EffectId> = flying.iter().filter(is_its).cloned().collect();
        self.remote.retain(|_, by| *by != worker);
        self.asking.retain(|effect, _| !claimed.contains(effect));
        if self.draw.chance(50) {
            self.arriving.retain(|_, arriving| !claimed.contains(&arriving.effect));
        }
        self.take(InputBody::WorkerLost(WorkerLost { worker: format!("worker {worker}"), claimed }));
    }

    /// An agent asks for more budget before its next call, and then for the next, until it has what it needs.
    fn ask(&mut self, effect: &EffectId) {
        let Some(asking) = self.asking.get_mut(effect) else { return };
        asking.asked += 1;
        let total = Amount { tokens: asking.held.tokens + 60, cost_usd_micros: asking.held.cost_usd_micros + 30 };
        let spent = Amount { tokens: asking.held.tokens.saturating_sub(5), cost_usd_micros: 10 };
        let spent = if self.weather.lies_about_usage && asking.asked == 3 { total } else { spent };
        (asking.spent, asking.wanted) = (spent, total);
        let question = Metered { effect: effect.clone(), asked: asking.asked, spent, total };
        self.next += 1;
        self.questions.insert((self.now + 1 + self.draw.below(500) as i64, self.next), question);
    }

    /// An agent that asked has its answer: it goes on, comes to its end, or hands back what it has.
    fn answered(&mut self, effect: &EffectId, answer: TopUp) {
        let Some(asking) = self.asking.get_mut(effect).filter(|asking| asking.asked == answer.asked) else { return };
        self.topups[usize::from(answer.is_granted)] += 1;
        let usage = Usage { input_tokens: Some(asking.spent.tokens), output_tokens: Some(0), ..Usage::default() };
        let usage = Usage { cost_usd_micros: Some(asking.spent.cost_usd_micros), ..usage };
        if answer.is_granted && asking.more > 1 {
            asking.more -= 1;
            asking.held = asking.wanted;
            return self.ask(effect);
        }
        let Some(asking) = self.asking.remove(effect) else { return };
        let outcome = match asking.outcome {
            Outcome::Succeeded(success) if answer.is_granted => {
                Outcome::Succeeded(Box::new(Success { usage, ..*success }))
            }
            outcome if answer.is_granted => outcome,
            _ => Outcome::BudgetExceeded { usage, partial: Some(ValueRef::null()) },
        };
        self.send(EffectOutcome { effect: effect.clone(), outcome });
    }

    fn send(&mut self, outcome: EffectOutcome) {
        let copies = 1 + u64::from(self.draw.chance(self.trouble.duplicates));
        for _ in 0..copies {
            self.next += 1;
            let at = self.now + 1 + self.draw.below(3_000) as i64;
            self.arriving.insert((at, self.next), outcome.clone());
        }
    }

    /// Takes an input in, checks every invariant, and sends what was ordered on its way.
    fn take(&mut self, body: InputBody) {
        self.inputs += 1;
        let input = Input { at: self.now, body };
        let turn = step(&mut self.state, &input);
        self.records.push(Record::Input(input));
        for decision in turn.decisions {
            self.watch(&decision);
            self.records.push(Record::Decision(decision));
        }
        self.check();
        for effect in turn.effects {
            self.perform(&effect);
        }
        for cancel in turn.cancels {
            self.cancelled(cancel);
        }
        for (effect, answer) in turn.topups {
            assert!(in_flight(&self.state).contains(&effect), "{effect:?} was answered and does not run");
            self.answered(&effect, answer);
        }
        for (effect, _) in turn.steers {
            assert!(in_flight(&self.state).contains(&effect), "{effect:?} was told something and does not run");
        }
    }

    fn watch(&mut self, decision: &Decision) {
        match decision {
            Decision::Refused { .. } => self.refused += 1,
            Decision::Ended { path, .. } => {
                let ix = self.state.at_path(path).unwrap();
                let attempt = self.state.instance(ix).attempt;
                assert!(self.results.insert((path.to_string(), attempt)), "{path} ended twice\n{}", self.tail());
            }
            Decision::Reopened { .. } => self.results.clear(),
            _ => {}
        }
    }

    fn perform(&mut self, effect: &Effect) {
        self.performed += 1;
        if effect.id.phase == wf_kernel::Phase::Perform && self.draw.chance(self.trouble.remote) {
            let worker = self.draw.below(WORKERS);
            self.remote.insert(effect.id.clone(), worker);
        }
        let outcome = EffectOutcome {
            effect: effect.id.clone(),
            outcome: answer(self.seed, self.weather, &self.workflow, effect),
        };
        if self.draw.chance(self.trouble.losses) {
            return;
        }
        let calls = calls_of(self.seed, effect);
        if calls == 0 {
            return self.send(outcome);
        }
        let held = Amount { tokens: 100, cost_usd_micros: 50 };
        let EffectOutcome { effect, outcome } = outcome;
        let asking = Asking { asked: 0, more: calls, held, spent: held, wanted: held, outcome };
        self.asking.insert(effect.clone(), asking);
        self.ask(&effect);
    }

    /// An effect that was asked to end answers so, unless it was just done.
    fn cancelled(&mut self, effect: EffectId) {
        let asked = self.asking.remove(&effect).is_some();
        if asked || self.draw.chance(70) {
            self.arriving.retain(|_, arriving| arriving.effect != effect);
            self.next += 1;
            let outcome = Outcome::Cancelled { usage: Usage::default() };
            self.arriving.insert((self.now + 1, self.next), EffectOutcome { effect, outcome });
        }
    }

    fn check(&mut self) {
        let ledgers = std::iter::once(self.state.ledger()).chain(self.state.ledgers().map(|(_, ledger)| ledger));
        for ledger in ledgers {
            if let Some(ceiling) = ledger.ceiling.tokens.filter(|_| !ledger.overrun) {
                let spent = ledger.settled.tokens + ledger.reserved.tokens;
                assert!(spent <= ceiling, "{spent} tokens of {ceiling}\n{}", self.tail());
            }
        }
        let waiting: Vec<EffectId> = outstanding(&mut self.state).effects.into_iter().map(|it| it.id).collect();
        let mut flying = in_flight(&self.state);
        if self.state.status() == RunStatus::Poisoned {
            // What brought its process down is not to be done again before somebody says so.
            flying.retain(|effect| waiting.contains(effect));
        }
        assert_eq!(waiting, flying, "what is outstanding is not what is in flight\n{}", self.tail());
        self.check_widths();
        let mut working: BTreeSet<String> = BTreeSet::new();
        for instance in self.state.live() {
            let in_tree = matches!(instance.stage, Stage::Performing(_) | Stage::Checkpointing(_));
            let node = self.workflow.node(instance.node);
            if in_tree && matches!(node.kind, Kind::Agent(_) | Kind::Test(_) | Kind::Command(_)) {
                let branch = self.branch_of(&instance.path);
                if let Some(branch) = branch {
                    assert!(working.insert(branch.clone()), "two leaves work in {branch}\n{}", self.tail());
                }
            }
        }
    }

    /// No `parallel` has more children under way than it is wide.
    fn check_widths(&self) {
        let mut under_way: BTreeMap<&str, u32> = BTreeMap::new();
        for instance in self.state.live() {
            if let Some((list, _)) = instance.path.rsplit_once('/') {
                *under_way.entry(list).or_default() += 1;
            }
        }
        for (list, count) in under_way {
            let Some(ix) = self.state.at_path(list) else { continue };
            if let Kind::Parallel { width, .. } = self.workflow.node(self.state.instance(ix).node).kind {
                assert!(count <= width, "{count} children of {list}, {width} wide\n{}", self.tail());
            }
        }
    }

    /// The innermost branch whose path is a prefix.
    fn branch_of(&self, path: &str) -> Option<String> {
        let mut prefix = path;
        while let Some((before, _)) = prefix.rsplit_once('/') {
            prefix = before;
            let Some(ix) = self.state.at_path(prefix) else { continue };
            if matches!(self.workflow.node(self.state.instance(ix).node).kind, Kind::Branch { .. }) {
                return Some(prefix.to_owned());
            }
        }
        None
    }

    fn check_replay(&self) {
        let mut replay = Replay::new(self.workflow.clone());
        for record in &self.records {
            replay.feed(record).unwrap();
        }
        replay.finish().unwrap();
        assert_eq!(replay.state().difference(&self.state), None);
        let folded = fold(&self.workflow, &self.records);
        assert_eq!(self.state.difference(&folded), None, "the fold differs from the live state\n{}", self.tail());
    }

    /// The end of the log, for a person who looks at a failing seed.
    fn tail(&self) -> String {
        let from = self.records.len().saturating_sub(40);
        let lines = self.records[from..].iter().map(|record| match record {
            Record::Input(input) => format!("{:>7} < {}", input.at, record.payload()),
            Record::Decision(_) => format!("        > {}", record.payload()),
        });
        format!("seed {}\n{}", self.seed, lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Folds a log.
pub(crate) fn fold(workflow: &Arc<Workflow>, records: &[Record]) -> RunState {
    let mut state = RunState::new(workflow.clone());
    for record in records {
        state.apply(record);
    }
    state
}
