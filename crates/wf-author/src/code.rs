//! The codes of authoring's findings. Each has an entry in `docs/errors.md`.

/// The source is larger than one file may be.
pub const SOURCE_TOO_LARGE: &str = "WF0601";
/// The text is not Starlark, or uses a part of it that is switched off.
pub const STARLARK_SYNTAX: &str = "WF0602";
/// The text is not YAML.
pub const YAML_SYNTAX: &str = "WF0603";
/// The text is not JSON.
pub const JSON_SYNTAX: &str = "WF0604";
/// Brackets, lists or maps are nested too deeply.
pub const TOO_DEEP: &str = "WF0605";
/// A number is neither a 64-bit integer nor a decimal with six places.
pub const NUMBER: &str = "WF0606";
/// A Starlark file ended without a call of `workflow(…)`.
pub const NO_WORKFLOW: &str = "WF0607";
/// `workflow(…)` was called twice, or in a file that is only loaded.
pub const SECOND_WORKFLOW: &str = "WF0608";
/// The Starlark program stopped with an error.
pub const STARLARK_RUNTIME: &str = "WF0609";
/// The Starlark program called `fail(…)`.
pub const STARLARK_FAIL: &str = "WF0610";
/// A function that makes a node or a part of one was called wrongly.
pub const WRONG_CALL: &str = "WF0611";
/// A value that cannot be part of a workflow, such as a function.
pub const NO_VALUE: &str = "WF0612";
/// A path that `load`, `file` or `{file: …}` may not name.
pub const PATH: &str = "WF0613";
/// A named file could not be read.
pub const UNREADABLE: &str = "WF0614";
/// Files that load each other.
pub const LOAD_CYCLE: &str = "WF0615";
/// Too many files, too many bytes in them, or too long a chain of loads.
pub const TOO_MANY_FILES: &str = "WF0616";
/// The Starlark program ran into the limit on its steps, its memory or its calls.
pub const STARLARK_LIMIT: &str = "WF0617";
/// The workflow has too many values or too much text.
pub const TOO_LARGE: &str = "WF0618";
/// An f-string or `.format`, which would eat the braces of templates.
pub const FORMAT: &str = "WF0619";
/// A YAML source with more than one document.
pub const YAML_DOCUMENTS: &str = "WF0620";
/// A YAML alias without its anchor, inside its own anchor, or one too many.
pub const YAML_ALIAS: &str = "WF0621";
/// A part of YAML that has no meaning here: tags, keys that are not text, merge keys.
pub const YAML_FEATURE: &str = "WF0622";
/// The compiling process ended without an answer.
pub const CHILD_CRASHED: &str = "WF0631";
/// The compiling process took too long.
pub const CHILD_TIMED_OUT: &str = "WF0632";
/// The compiling process wrote too much.
pub const CHILD_OUTPUT: &str = "WF0633";
/// The compiling process answered what is no answer.
pub const CHILD_ANSWER: &str = "WF0634";

/// All of them.
pub const ALL: [&str; 26] = [
    SOURCE_TOO_LARGE,
    STARLARK_SYNTAX,
    YAML_SYNTAX,
    JSON_SYNTAX,
    TOO_DEEP,
    NUMBER,
    NO_WORKFLOW,
    SECOND_WORKFLOW,
    STARLARK_RUNTIME,
    STARLARK_FAIL,
    WRONG_CALL,
    NO_VALUE,
    PATH,
    UNREADABLE,
    LOAD_CYCLE,
    TOO_MANY_FILES,
    STARLARK_LIMIT,
    TOO_LARGE,
    FORMAT,
    YAML_DOCUMENTS,
    YAML_ALIAS,
    YAML_FEATURE,
    CHILD_CRASHED,
    CHILD_TIMED_OUT,
    CHILD_OUTPUT,
    CHILD_ANSWER,
];

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn codes_are_in_order_and_their_own() {
        assert!(ALL.is_sorted_by(|one, other| one < other));
        assert!(ALL.iter().all(|code| code.len() == 6 && code.starts_with("WF06")));
    }
}
