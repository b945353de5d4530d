//! The types that the interpreter carries for us, and nothing else: their meaning is in the files beside.
#![expect(
    unsafe_code,
    reason = "the interpreter's derive for carrying a type expands to an `unsafe impl` of a marker trait; there is no \
              safe way to hand it a type, and nothing unsafe is written by hand here"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use allocative::Allocative;
use starlark::starlark_simple_value;
use starlark::values::{NoSerialize, ProvidesStaticType, StarlarkPagablePanic};

use super::functions::Makes;
use super::made::Part;
use super::sites::Source;
use crate::compile::{Files, Weight};

/// One of the functions that a program can call.
#[derive(Clone, Debug, ProvidesStaticType, NoSerialize, StarlarkPagablePanic, Allocative)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    #[allocative(skip)]
    pub(crate) makes: Makes,
}

starlark_simple_value!(Function);

/// A node, or a part of one such as a budget or a schema: an immutable map. Lists of nodes share their nodes.
#[derive(Clone, Debug, ProvidesStaticType, NoSerialize, StarlarkPagablePanic, Allocative)]
pub(crate) struct Made(#[allocative(skip)] pub(crate) Arc<Part>);

starlark_simple_value!(Made);

/// What the functions of a program share.
#[derive(ProvidesStaticType)]
pub(crate) struct Context<'a> {
    pub(crate) files: &'a Files<'a>,
    /// The file that is run.
    pub(crate) file: String,
    pub(crate) sources: RefCell<BTreeMap<String, Rc<Source>>>,
    /// What was made so far, whether it is used or not.
    pub(crate) made: RefCell<Weight>,
    /// Whether the file that is run, and not one that it loads, is being run.
    pub(crate) main: Cell<bool>,
    pub(crate) workflow: RefCell<Option<Part>>,
}
