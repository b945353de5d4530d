//! Control nodes that choose: reduce, pareto, tournament.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_ir::node::{Candidates, Contest, How, Reduce, Tournament};
use wf_ir::{EvalError, Expr, Kind, Status, Value};

use crate::choose::{self, Candidate, Match, Standing, Work, score_of};
use crate::record::{Decision, Reason};
use crate::state::{FrameIx, Ix, RunState};
use crate::step::Turn;

impl Turn<'_> {
    /// Begins a node that chooses; most end at once.
    pub(crate) fn choose(&mut self, ix: Ix) {
        let workflow = self.state.workflow.clone();
        match &workflow.node(self.state.instance(ix).node).kind {
            Kind::Reduce(reduce) => self.reduce(ix, reduce),
            Kind::Pareto { candidates, objectives, max_items } => {
                let chosen = self
                    .state
                    .candidates(ix, candidates)
                    .and_then(|candidates| self.state.pareto(ix, candidates, objectives, *max_items as usize));
                match chosen {
                    Ok(Some(value)) => self.end_value(ix, value),
                    Ok(None) => self.end(ix, Status::Failed, Some(Reason::Empty)),
                    Err(EvalError(why)) => self.expression_failed(ix, "objectives", why),
                }
            }
            Kind::Tournament(tournament) => self.tournament(ix, tournament),
            _ => {}
        }
    }

    pub(crate) fn end_value(&mut self, ix: Ix, value: Value) {
        self.end_with(ix, Status::Succeeded, None, Some(Arc::new(value)), crate::Amount::default());
    }

    fn reduce(&mut self, ix: Ix, reduce: &Reduce) {
        if matches!(reduce.how, How::Combine { .. }) {
            return self.combine(ix);
        }
        let succeeded: Vec<Candidate> = match self.state.candidates(ix, &reduce.inputs) {
            Ok(candidates) => candidates.into_iter().filter(Candidate::succeeded).collect(),
            Err(EvalError(why)) => return self.expression_failed(ix, "inputs", why),
        };
        if succeeded.is_empty() {
            return match &reduce.on_empty {
                Some(value) => self.end_value(ix, value.clone()),
                None => self.end(ix, Status::Failed, Some(Reason::Empty)),
            };
        }
        let by = match &reduce.how {
            How::Model { .. } => return self.open(ix, None, None),
            How::Vote { by } => by.as_ref(),
            How::Best { by } => Some(by),
            How::Concat | How::Merge | How::Combine { .. } => None,
        };
        let mut keys = Vec::with_capacity(succeeded.len());
        for candidate in &succeeded {
            let key = match by {
                Some(by) => self.state.weigh(ix, candidate, by),
                None if matches!(reduce.how, How::Vote { .. }) => Ok((*candidate.value).clone()),
                None => continue,
            };
            match key {
                Ok(key) => keys.push(key),
                Err(EvalError(why)) => return self.expression_failed(ix, "by", format!("{}: {why}", candidate.path)),
            }
        }
        match choose::fold(&reduce.how, &succeeded, &keys) {
            Some(value) => self.end_value(ix, value),
            None => self.end(ix, Status::Failed, Some(Reason::Empty)),
        }
    }

    fn tournament(&mut self, ix: Ix, tournament: &Tournament) {
        let (candidates, standings) = match self.state.standings(ix, tournament) {
            Ok(standings) => standings,
            Err(EvalError(why)) => return self.expression_failed(ix, "candidates", why),
        };
        match tournament.contest {
            Contest::Score { .. } => match choose::best_by_score(&standings) {
                Some(winner) => {
                    let harvest = &tournament.harvest;
                    let value = choose::tournament_value(&candidates, &standings, &[], winner, harvest);
                    self.end_value(ix, value);
                }
                None => self.end(ix, Status::Failed, Some(Reason::Empty)),
            },
            Contest::Judge { .. } if standings.iter().any(|standing| standing.eligible) => {
                self.open(ix, None, None);
            }
            Contest::Judge { .. } => self.end(ix, Status::Failed, Some(Reason::Empty)),
        }
    }

    /// A tournament by judges: the next match, or the end.
    pub(crate) fn control_judges(&mut self, ix: Ix) {
        let workflow = self.state.workflow.clone();
        let Kind::Tournament(tournament) = &workflow.node(self.state.instance(ix).node).kind else { return };
        if self.state.instance(ix).open_frames > 0 {
            return;
        }
        if let Some(child) = self.state.instance(ix).frames.iter().find_map(|frame| self.state.frame(*frame).failed) {
            let end = (Status::Failed, Some(Reason::Child { path: self.path(child).to_string() }));
            let (status, reason) = self.unless_closed(ix, end);
            return self.end(ix, status, reason);
        }
        let (status, reason) = self.unless_closed(ix, (Status::Failed, None));
        if status != Status::Failed {
            return self.end(ix, status, reason);
        }
        let bracket = match self.state.bracket(ix, tournament) {
            Ok(bracket) => bracket,
            Err(EvalError(why)) => return self.expression_failed(ix, "judge", why),
        };
        if bracket.next.is_none() {
            let value = choose::tournament_value(
                &bracket.candidates,
                &bracket.standings,
                &bracket.played,
                bracket.champion,
                &tournament.harvest,
            );
            return self.end_value(ix, value);
        }
        if !self.state.is_held(ix) {
            let index = self.state.instance(ix).frames.len() as u32;
            for index in [index + 1, index + 2] {
                self.decide(Decision::FrameOpened { path: self.path(ix), index });
            }
        }
    }
}

/// How far a tournament by judges has come.
pub(crate) struct Bracket {
    candidates: Vec<Candidate>,
    standings: Vec<Standing>,
    played: Vec<Match>,
    champion: usize,
    next: Option<usize>,
}

impl RunState {
    /// The envelopes of candidates, in order.
    pub(crate) fn candidates(&mut self, ix: Ix, candidates: &Candidates) -> Result<Vec<Candidate>, EvalError> {
        let frame = self.instance(ix).frame;
        let mut found = Vec::new();
        for node in candidates.nodes() {
            let Some(target) = self.resolve(frame, *node) else { continue };
            let as_set = matches!(candidates, Candidates::Set(_));
            let frames = self.elements(target);
            match self.kind(target) {
                Kind::Parallel { .. } if as_set => {
                    for child in frames.iter().flat_map(|frame| self.frame(*frame).children()).collect::<Vec<_>>() {
                        found.push(self.candidate(child)?);
                    }
                }
                Kind::Expand { .. } if as_set => {
                    for frame in frames {
                        found.push(self.element_candidate(target, frame)?);
                    }
                }
                _ => found.push(self.candidate(target)?),
            }
        }
        Ok(found)
    }

    fn candidate(&mut self, ix: Ix) -> Result<Candidate, EvalError> {
        let value = self.value_of(ix)?;
        let instance = self.instance(ix);
        Ok(Candidate { path: instance.path.clone(), status: instance.status, value, work: self.work_of(ix) })
    }

    fn element_candidate(&mut self, owner: Ix, frame: FrameIx) -> Result<Candidate, EvalError> {
        let (value, _) = self.element_value(frame)?;
        let frame = self.frame(frame);
        let name = frame.name.as_ref().map_or_else(|| frame.index.to_string(), ToString::to_string);
        let path = Arc::from(format!("{}[{name}]", self.instance(owner).path));
        let status = match frame.failed {
            Some(child) => self.instance(child).status,
            None if frame.ok > 0 => Status::Succeeded,
            None => Status::Skipped,
        };
        let work = frame.children().last().and_then(|last| self.work_of(last));
        let value = if status == Status::Succeeded { value } else { Arc::new(Value::Null) };
        Ok(Candidate { path, status, value, work })
    }

    fn work_of(&self, ix: Ix) -> Option<Work> {
        let tree = self.instance(ix).tree.as_ref()?;
        let harvest = tree.harvest.as_ref()?;
        let files = harvest.files.iter().map(|file| (file.path.clone(), file.change.clone())).collect();
        Some(Work { base: harvest.base.clone(), commit: harvest.commit.clone(), files })
    }

    /// An expression over one candidate.
    pub(crate) fn weigh(&mut self, ix: Ix, candidate: &Candidate, by: &Expr) -> Result<Value, EvalError> {
        self.eval_in(self.instance(ix).frame, &candidate.names(), by)
    }

    pub(crate) fn pareto(
        &mut self,
        ix: Ix,
        candidates: Vec<Candidate>,
        objectives: &[wf_ir::node::Objective],
        items_max: usize,
    ) -> Result<Option<Value>, EvalError> {
        let succeeded: Vec<Candidate> = candidates.into_iter().filter(Candidate::succeeded).collect();
        let mut scores = Vec::with_capacity(succeeded.len());
        for candidate in &succeeded {
            let mut row = Vec::with_capacity(objectives.len());
            for objective in objectives {
                let value = self.weigh(ix, candidate, &objective.by)?;
                let score = score_of(&value).ok_or_else(|| {
                    EvalError(format!("{} of {} is {}", objective.by.as_str(), candidate.path, value.type_name()))
                })?;
                row.push(if objective.maximize { score } else { -score });
            }
            scores.push(row);
        }
        let chosen = choose::pareto(&scores, items_max);
        if chosen.is_empty() {
            return Ok(None);
        }
        let mut items = Vec::with_capacity(chosen.len());
        for at in chosen {
            let candidate = &succeeded[at];
            let mut named = Vec::with_capacity(objectives.len());
            for objective in objectives {
                named.push(self.weigh(ix, candidate, &objective.by)?);
            }
            items.push(Value::map([
                ("path", Value::from(&*candidate.path)),
                ("value", (*candidate.value).clone()),
                ("scores", Value::List(named)),
            ]));
        }
        Ok(Some(Value::List(items)))
    }

    /// Who may win, and with what score. An expression that has no value for a candidate makes it ineligible.
    pub(crate) fn standings(
        &mut self,
        ix: Ix,
        tournament: &Tournament,
    ) -> Result<(Vec<Candidate>, Vec<Standing>), EvalError> {
        let candidates = self.candidates(ix, &tournament.candidates)?;
        let mut standings = Vec::with_capacity(candidates.len());
        for candidate in &candidates {
            standings.push(self.standing(ix, tournament, candidate));
        }
        Ok((candidates, standings))
    }

    fn standing(&mut self, ix: Ix, tournament: &Tournament, candidate: &Candidate) -> Standing {
        let out = |why: String| Standing { eligible: false, why: Some(why), score: None };
        if !candidate.succeeded() {
            return out(candidate.status.as_str().to_owned());
        }
        if let Some(require) = &tournament.require {
            match self.weigh(ix, candidate, require) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return out(format!("does not satisfy {}", require.as_str())),
                Err(EvalError(why)) => return out(why),
            }
        }
        let Contest::Score { by } = &tournament.contest else {
            return Standing { eligible: true, why: None, score: None };
        };
        match self.weigh(ix, candidate, by).map(|value| score_of(&value)) {
            Ok(Some(score)) => Standing { eligible: true, why: None, score: Some(score) },
            Ok(None) => out(format!("{} is not a number", by.as_str())),
            Err(EvalError(why)) => out(why),
        }
    }

    /// The matches played so far (two frames each), and who meets whom next.
    pub(crate) fn bracket(&mut self, ix: Ix, tournament: &Tournament) -> Result<Bracket, EvalError> {
        let (candidates, standings) = self.standings(ix, tournament)?;
        let eligible: Vec<usize> = (0..candidates.len()).filter(|at| standings[*at].eligible).collect();
        let frames = self.instance(ix).frames.clone();
        let mut champion = eligible.first().copied().unwrap_or(0);
        let mut played = Vec::new();
        for (pair, challenger) in frames.chunks_exact(2).zip(eligible.iter().skip(1)) {
            if pair.iter().any(|frame| !self.frame(*frame).is_done()) {
                break;
            }
            let votes = (self.vote(pair[0])?, self.vote(pair[1])?);
            let game = Match { first: champion, second: *challenger, votes };
            champion = game.winner();
            played.push(game);
        }
        let next = eligible.get(played.len() + 1).copied();
        Ok(Bracket { candidates, standings, played, champion, next })
    }

    fn vote(&mut self, frame: FrameIx) -> Result<String, EvalError> {
        let judge = self.frame(frame).first;
        let answer = self.value_of(judge)?;
        Ok(answer.get("winner").as_str().unwrap_or("tie").to_owned())
    }

    /// The names that only an inner ask sees: `items`, `of`, `first` and `second`.
    pub(crate) fn inner_names(&mut self, ix: Ix) -> Result<BTreeMap<String, Arc<Value>>, EvalError> {
        let Some(owner) = self.parent(ix) else { return Ok(BTreeMap::new()) };
        let workflow = self.workflow.clone();
        let kind = &workflow.node(self.instance(owner).node).kind;
        if kind.inner() != Some(self.instance(ix).node) {
            return Ok(BTreeMap::new());
        }
        match kind {
            Kind::Reduce(reduce) => {
                let candidates = self.candidates(owner, &reduce.inputs)?;
                let items = candidates.iter().filter(|it| it.succeeded()).map(Candidate::envelope).collect();
                Ok(BTreeMap::from([("items".to_owned(), Arc::new(Value::List(items)))]))
            }
            Kind::TeacherReview { of, .. } => {
                let frame = self.instance(owner).frame;
                let targets: Vec<Ix> = of.iter().filter_map(|node| self.resolve(frame, *node)).collect();
                let mut seen = Vec::with_capacity(targets.len());
                for target in targets {
                    seen.push((*self.envelope_of(target)?).clone());
                }
                Ok(BTreeMap::from([("of".to_owned(), Arc::new(Value::List(seen)))]))
            }
            Kind::Tournament(tournament) => {
                let index = self.frame(self.instance(ix).frame).index;
                let bracket = self.bracket(owner, tournament)?;
                let game = (index as usize - 1) / 2;
                let (champion, challenger) = match bracket.played.get(game) {
                    Some(game) => (game.first, game.second),
                    None => (bracket.champion, bracket.next.unwrap_or(bracket.champion)),
                };
                let pair = if index % 2 == 1 { (champion, challenger) } else { (challenger, champion) };
                Ok(BTreeMap::from([
                    ("first".to_owned(), Arc::new(bracket.candidates[pair.0].envelope())),
                    ("second".to_owned(), Arc::new(bracket.candidates[pair.1].envelope())),
                ]))
            }
            _ => Ok(BTreeMap::new()),
        }
    }
}
