//! The async shell that owns a run.
