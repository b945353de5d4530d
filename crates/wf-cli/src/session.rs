//! One invocation: its surroundings, its project, where it writes.

use std::path::Path;

use wf_server::{Engine, Environment, Error, Project};
use wf_store::RunId;

use crate::out::Out;

/// One invocation.
pub(crate) struct Session {
    pub(crate) environment: Environment,
    pub(crate) project: Project,
    pub(crate) out: Out,
}

impl Session {
    pub(crate) fn new(environment: &Environment, out: Out) -> Result<Self, Error> {
        let project = Project::of(environment, Path::new("."))?;
        Ok(Self { environment: environment.clone(), project, out })
    }

    /// The runs of the project.
    pub(crate) fn engine(&self) -> Result<Engine, Error> {
        Engine::open(&self.environment, &self.project)
    }

    /// The runs of the project and one of them, as it was named. A project without runs gets no store.
    pub(crate) async fn run(&self, name: &str) -> Result<(Engine, RunId), Error> {
        let engine = Engine::open_if_any(&self.environment, &self.project)?;
        let engine = engine.ok_or_else(|| Error::NoRun { name: name.to_owned() })?;
        let run = wf_server::ops::resolve(&engine, name).await?;
        Ok((engine, run))
    }
}
