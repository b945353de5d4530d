//! The workflows that harnesses run. Their commands write a line with the time and their own path to a ledger outside of
//! every tree, so that what ran is known without the log.

/// A workflow, with what lies beside it.
pub(crate) struct Work {
    /// Its file.
    pub(crate) source: &'static str,
    /// Every file, by name.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// How many leaves it has.
    pub(crate) leaves: u64,
    /// How many of them are commands and tests, and write to the ledger.
    pub(crate) told: usize,
}

/// What every branch begins with.
const FIXTURE: (&str, &str) = ("fixture/a.txt", "bad\n");

/// Ten leaves of every kind that works here.
pub(crate) static TEN: Work = Work {
    source: "ten.star",
    files: &[
        ("ten.star", include_str!("works/ten.star")),
        ("ten.mock.toml", include_str!("works/ten.mock.toml")),
        FIXTURE,
    ],
    leaves: 10,
    told: 3,
};

/// Two hundred leaves: three branches, commands beside them, many asks; some fail at first.
pub(crate) static MANY: Work = Work {
    source: "many.star",
    files: &[
        ("many.star", include_str!("works/many.star")),
        ("many.mock.toml", include_str!("works/many.mock.toml")),
        FIXTURE,
    ],
    leaves: 200,
    told: 36,
};

/// Eight branches side by side, each with an edit, a command that writes and a test.
pub(crate) static BRANCHES: Work = Work {
    source: "branches.star",
    files: &[
        ("branches.star", include_str!("works/branches.star")),
        ("branches.mock.toml", include_str!("works/branches.mock.toml")),
        FIXTURE,
    ],
    leaves: 24,
    told: 16,
};

/// Leaves before and after a decision of somebody's, and a file that is kept.
pub(crate) static POWER: Work = Work {
    source: "power.star",
    files: &[
        ("power.star", include_str!("works/power.star")),
        ("power.mock.toml", include_str!("works/power.mock.toml")),
        FIXTURE,
    ],
    leaves: 11,
    told: 3,
};

/// Many asks and some commands at the same time; as many as the inputs say.
pub(crate) static WIDE: Work = Work {
    source: "wide.star",
    files: &[
        ("wide.star", include_str!("works/wide.star")),
        ("wide.mock.toml", include_str!("works/wide.mock.toml")),
        FIXTURE,
    ],
    leaves: 8,
    told: 4,
};

/// Commands that wait when they run for the first time, and then fail.
pub(crate) static STALE: Work = Work {
    source: "stale.star",
    files: &[("stale.star", include_str!("works/stale.star")), FIXTURE],
    leaves: 4,
    told: 4,
};
