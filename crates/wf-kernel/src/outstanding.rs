//! What a run is waiting for, as a function of its state.

use crate::effect::{Effect, EffectId};
use crate::record::{TimeMs, TimerId};
use crate::state::{Ix, RunState};

/// What a run is waiting for.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// Effects that were ordered and have no outcome.
    pub effects: Vec<Effect>,
    /// Of these, the ones that were asked to end.
    pub cancels: Vec<EffectId>,
    /// Times, with what they are for.
    pub timers: Vec<(TimeMs, TimerId)>,
    /// Whether a person is waited for.
    pub people: bool,
}

/// Computes what a run is waiting for. After a crash, the new owner performs, adopts or declares in doubt exactly this.
/// (The state is borrowed mutably for its look-ups only.)
pub fn outstanding(state: &mut RunState) -> Outstanding {
    let flying: Vec<Ix> = state.in_flight.difference(&state.stranded).copied().collect();
    let mut result = Outstanding::default();
    for ix in flying {
        if let Some(effect) = state.effect_for(ix) {
            if state.instance(ix).cancel_ordered {
                result.cancels.push(effect.id.clone());
            }
            result.effects.push(effect);
        }
    }
    if state.end.is_none() {
        result.timers = state.due.iter().cloned().collect();
        result.people = state.waits_for_people();
    }
    result
}

/// The identities of the effects in flight.
pub fn in_flight(state: &RunState) -> Vec<EffectId> {
    let id = |ix: &Ix| {
        let instance = state.instance(*ix);
        let phase = instance.flight?;
        Some(EffectId { subject: instance.path.clone(), generation: instance.generation, phase })
    };
    state.in_flight.iter().filter_map(id).collect()
}
