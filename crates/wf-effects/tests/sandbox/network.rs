//! The way out, host by host.

use expect_test::{Expect, expect};
use wf_effects::sandbox::HostRule;

use crate::setup::{World, has_sandbox, port};

/// What a program sees that asks for a page: `PORT` is one where somebody listens on this machine.
fn check(rules: &[&str], script: &str, expect: Expect) {
    if !has_sandbox() {
        return;
    }
    let world = World::new();
    let port = port().to_string();
    let rules = rules.iter().map(|rule| HostRule::parse(&rule.replace("PORT", &port)).unwrap()).collect();
    let finished = world.sh(&script.replace("PORT", &port), Some(world.policy().reaching(rules)));
    let shown = format!("{:?}\n{}{}", finished.end, finished.stdout.tail(), finished.stderr.tail());
    expect.assert_eq(shown.replace(&port, "PORT").trim_end());
}

#[test]
fn a_named_host_is_reached_and_no_other() {
    // What is asked of this machine's own names goes past a proxy, unless they are granted.
    let get = "NO_PROXY= no_proxy= curl -s --max-time 20";
    check(
        &["127.0.0.1:PORT"],
        "curl -s --max-time 20 http://127.0.0.1:PORT/; echo $NO_PROXY",
        expect![[r#"
        Exited(0)
        HELLO
        localhost,::1"#]],
    );
    check(
        &["127.0.0.1:PORT"],
        &format!("{get} --proxytunnel http://127.0.0.1:PORT/"),
        expect![[r#"
        Exited(0)
        HELLO"#]],
    );
    check(
        &["127.0.0.1:1"],
        &format!("{get} http://127.0.0.1:PORT/"),
        expect![[r#"
        Exited(0)
        whaleflow: 127.0.0.1:PORT is not among the hosts that may be reached"#]],
    );
    check(
        &["*:PORT"],
        &format!("{get} http://127.0.0.1:PORT/"),
        expect![[r#"
        Exited(0)
        whaleflow: 127.0.0.1:PORT cannot be reached: address not available"#]],
    );
    check(&["127.0.0.1:PORT"], "curl -s --noproxy '*' --max-time 20 http://127.0.0.1:PORT/", expect!["Exited(7)"]);
    check(&[], "echo $HTTPS_PROXY", expect!["Exited(0)"]);
}
