//! Builds work inside, with what was downloaded outside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use expect_test::expect;
use wf_effects::process::End;

use crate::setup::{World, has_sandbox};

/// The variables of whoever runs the tests, by which cargo finds its tool chain.
fn vars() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[test]
fn cargo_tests_without_a_network() {
    if !has_sandbox() {
        return;
    }
    let world = World::new();
    let vars = vars();
    let home = PathBuf::from(&vars["HOME"]);
    let files = [
        ("Cargo.toml", "[package]\nname = \"inside\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n"),
        (
            "src/lib.rs",
            "#[test]\nfn a_port_of_its_own() {\n    let held = std::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();\n    \
             std::net::TcpStream::connect(held.local_addr().unwrap()).unwrap();\n}\n",
        ),
    ];
    for (path, text) in files {
        std::fs::write(world.tree.join(path), text).unwrap();
    }
    let mut host = world.host();
    host.homes.push(home.clone());
    host.programs = vars["PATH"].split(':').filter(|it| it.starts_with('/')).map(PathBuf::from).collect();
    let policy = host.policy().writing(&world.tree).sealing(&world.tree.join(".git"));
    let mut spec = world.spec(&["cargo", "test", "--offline", "--lib"], Some(policy));
    for (name, dir) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let dir = vars.get(name).map_or_else(|| home.join(dir), PathBuf::from);
        spec.env.insert(name.to_owned(), dir.display().to_string());
    }
    spec.env.insert("PATH".to_owned(), vars["PATH"].clone());
    let finished = world.run(&spec).unwrap();
    let told = finished.stdout.tail();
    let result: Vec<&str> = told.lines().filter(|line| line.starts_with("test ")).collect();
    assert_eq!(finished.end, End::Exited(0), "{}", finished.stderr.tail());
    expect!["test a_port_of_its_own ... ok"].assert_eq(result[0]);
}
