//! The codes of this crate's diagnostics. Each has an entry in `docs/errors.md`.
//!
//! `WF01` is about the shape of a source, `WF02` about names, `WF03` about expressions and templates, `WF04` about
//! bounds, `WF05` about permissions and trees, `WF08` about what this version cannot do yet, `WF09` about this machine.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: &str = $code;
        )*

        /// Every code with its title, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    TOO_DEEP = "WF0101", "a source nests too deep";
    NOT_A_WORKFLOW = "WF0102", "a source is not a workflow";
    UNKNOWN_KEY = "WF0103", "a key is unknown";
    DUPLICATE_KEY = "WF0104", "a key is there twice";
    MISSING_KEY = "WF0105", "a key is missing";
    WRONG_TYPE = "WF0106", "a value has the wrong type";
    CYCLE = "WF0107", "nodes wait for each other in a cycle";
    NEWER_SCHEMA = "WF0108", "a definition is written for a newer version";
    UNKNOWN_KIND = "WF0109", "a node has no known kind";
    TWO_KINDS = "WF0110", "a node has two kinds";
    BAD_NAME = "WF0111", "a name has the wrong form";
    DUPLICATE_ID = "WF0112", "two siblings have one id";
    RESERVED_NAME = "WF0113", "a name is reserved";
    OUT_OF_RANGE = "WF0114", "a number is out of range";
    BAD_DURATION = "WF0115", "a duration is malformed";
    BAD_CHOICE = "WF0116", "a word is not one of those allowed";
    BAD_GLOB = "WF0117", "a glob is malformed";
    BAD_SCHEMA = "WF0118", "a JSON Schema cannot be used";
    BAD_REGEX = "WF0119", "a regular expression is malformed";
    EXACTLY_ONE = "WF0120", "exactly one of several fields must be given";
    USELESS_FIELD = "WF0121", "a field means nothing here";
    BAD_PATH = "WF0122", "a path leaves its directory";
    TOO_FEW = "WF0123", "a list has too few items";
    DEFAULT_MISFIT = "WF0124", "a default does not fit its input's type";
    SENSITIVE_DEFAULT = "WF0125", "a sensitive input has a default";
    UNKNOWN_TYPE = "WF0126", "the type of an input is unknown";
    TOO_LONG = "WF0127", "a text is too long";
    OLDER_SCHEMA = "WF0128", "a definition uses what its version does not have";
    UNKNOWN_NAME = "WF0201", "a name means nothing here";
    DOWNSTREAM = "WF0202", "a node reads one that comes later";
    ENCLOSING = "WF0203", "a node reads one that encloses it";
    WRONG_KIND = "WF0204", "a reference needs another kind of node";
    NO_LOOP = "WF0205", "iteration and prev exist only in a loop";
    NO_TREE = "WF0206", "tree exists only where there is a tree";
    SENSITIVE_READ = "WF0207", "an expression reads a sensitive input";
    UNKNOWN_INPUT = "WF0208", "an input is not declared";
    CANDIDATE_TWICE = "WF0209", "a candidate is listed twice";
    BARE_NODE = "WF0210", "node stands without the name of a node";
    EXPR_SYNTAX = "WF0301", "an expression is malformed";
    EXPR_TYPE = "WF0302", "an expression has the wrong type";
    TEMPLATE_SYNTAX = "WF0303", "a template is malformed";
    TEMPLATE_LIMIT = "WF0304", "a template is too large";
    TEMPLATE_DENIED = "WF0305", "a template uses what templates do not have";
    TEMPLATE_FIELD = "WF0306", "a template reads a field that does not exist";
    TOO_MANY_NODES = "WF0401", "a workflow has too many nodes";
    NODES_TOO_DEEP = "WF0402", "nodes nest too deep";
    TOO_MANY_LEAVES = "WF0403", "a run could start too many leaves";
    MIN_OK = "WF0404", "more successes are asked for than there are children";
    BUDGET_WIDER = "WF0405", "a budget is larger than the one around it";
    TOO_MANY_FINDINGS = "WF0406", "there are more findings than are shown";
    PERMISSION_WIDER = "WF0501", "a permission is wider than the one around it";
    WRITES_OUTSIDE = "WF0502", "a leaf writes outside its permissions";
    COMMAND_DENIED = "WF0503", "a command is not permitted";
    NO_BRANCH = "WF0504", "a leaf writes outside a branch";
    WRITE_OVERLAP = "WF0505", "two leaves could write one file at the same time";
    TAKE_TURNS = "WF0506", "leaves that write one tree take turns";
    ELEMENTS_OVERLAP = "WF0507", "elements of an expand write one tree at the same time";
    TOO_MANY_SCOPES = "WF0508", "too many write scopes to compare";
    TWINS = "WF0509", "two candidates are equal";
    NO_LIST = "WF0510", "an agent adds tasks where there is no list of them";
    UNSUPPORTED_RLM = "WF0801", "rlm is not supported yet";
    UNSUPPORTED_MEMORY = "WF0802", "memory is not supported yet";
    UNSUPPORTED_CALL = "WF0803", "call is not supported yet";
    UNSUPPORTED_RESUMES = "WF0804", "resuming a session is not supported yet";
    ROLE_UNSATISFIED = "WF0901", "nothing here satisfies a role";
    PROGRAM_MISSING = "WF0902", "a program is not found";
    UNTRUSTED = "WF0903", "the repository is not trusted";
    NO_REPOSITORY = "WF0904", "there is no repository";
    KEY_MISSING = "WF0905", "a key for a role is missing";
}
