//! Configuration, projects, trust, and the operations that surfaces share.
