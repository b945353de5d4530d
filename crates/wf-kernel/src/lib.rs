//! Decisions: records, run state, step, outstanding, replay.
