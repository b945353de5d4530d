//! Graphs of workflows and runs.

use expect_test::expect;
use wf_ir::node::Budget;
use wf_view::{dot, mermaid};

use crate::support::{CONTEST, FAN_OUT, Script, usual, workflow_of};

#[test]
fn a_workflow_as_mermaid() {
    expect![[r#"
        flowchart TD
          n0["look · search<br/>cache"]
          subgraph n1["fixes · parallel"]
            subgraph n2["good · branch"]
              n3["fix · agent · coder"]
              n4["check · test<br/>cargo test"]
            end
            subgraph n5["bad · branch"]
              n6["fix · agent · coder"]
              n7["check · test<br/>cargo test"]
            end
          end
          n8["pick · tournament<br/>of fixes that satisfy value.results.check.passed"]
          n9["sum_up · ask · writer"]
          n0 --> n3
          n1 --> n8
          n8 --> n9
          n0 -.-> n1
          n3 -.-> n4
          n6 -.-> n7
    "#]]
    .assert_eq(&mermaid(&workflow_of(CONTEST), None));
}

#[test]
fn a_run_as_mermaid() {
    let script = Script::begin(FAN_OUT, Budget::default()).answer_some(4, usual);
    let fold = script.fold();
    expect![[r#"
        flowchart TD
          subgraph n0["each · expand<br/>over 5"]
            n1["leaf · ask · default · 2/4"]
          end
          n2["total · reduce<br/>concat of each"]
          n0 --> n2
          classDef succeeded fill:#d3f5dc,stroke:#1a7f37,color:#1f2328
          classDef failed fill:#ffd8d3,stroke:#cf222e,color:#1f2328
          classDef skipped fill:#eaeef2,stroke:#8c959f,color:#1f2328
          classDef running fill:#d6ebff,stroke:#0969da,color:#1f2328
          classDef waiting fill:#fff3c4,stroke:#9a6700,color:#1f2328
          classDef pending fill:#ffffff,stroke:#8c959f,color:#1f2328
          class n0 running
          class n1 running
          class n2 pending
    "#]]
    .assert_eq(&mermaid(fold.workflow(), Some(&fold)));
}

#[test]
fn a_run_as_dot() {
    let script = Script::begin(CONTEST, Budget::default()).finish(usual);
    let fold = script.fold();
    expect![[r##"
        digraph workflow {
          compound=true
          node [shape=box, style="rounded,filled", fillcolor="#ffffff", fontname="sans-serif"]
          graph [fontname="sans-serif", style="rounded"]
          n0 [label="look · search\ncache", fillcolor="#d3f5dc", color="#1a7f37"]
          subgraph cluster_1 {
            label="fixes · parallel"
            color="#1a7f37"
            subgraph cluster_2 {
              label="good · branch"
              color="#1a7f37"
              n3 [label="fix · agent · coder", fillcolor="#d3f5dc", color="#1a7f37"]
              n4 [label="check · test\ncargo test", fillcolor="#d3f5dc", color="#1a7f37"]
            }
            subgraph cluster_5 {
              label="bad · branch"
              color="#1a7f37"
              n6 [label="fix · agent · coder", fillcolor="#d3f5dc", color="#1a7f37"]
              n7 [label="check · test\ncargo test", fillcolor="#d3f5dc", color="#1a7f37"]
            }
          }
          n8 [label="pick · tournament\nof fixes that satisfy value.results.check.passed", fillcolor="#d3f5dc", color="#1a7f37"]
          n9 [label="sum_up · ask · writer", fillcolor="#d3f5dc", color="#1a7f37"]
          n0 -> n3
          n3 -> n8 [ltail=cluster_1]
          n8 -> n9
          n0 -> n3 [lhead=cluster_1, style=dashed]
          n3 -> n4 [style=dashed]
          n6 -> n7 [style=dashed]
        }
    "##]].assert_eq(&dot(fold.workflow(), Some(&fold)));
}

#[test]
fn labels_are_escaped() {
    let workflow = workflow_of(
        r##"{"workflow": "w", "children": [{"command": "c", "argv": ["sh", "-c", "echo \"a\" | sort; #]\u001b[31m\\n"]}]}"##,
    );
    expect![[r#"
        flowchart TD
          n0["c · command<br/>sh -c echo #34;a#34; #124; sort#59; #35;#93;#92;n"]
    "#]]
    .assert_eq(&mermaid(&workflow, None));
    expect![[r##"
        digraph workflow {
          compound=true
          node [shape=box, style="rounded,filled", fillcolor="#ffffff", fontname="sans-serif"]
          graph [fontname="sans-serif", style="rounded"]
          n0 [label="c · command\nsh -c echo \"a\" | sort; #]\\n"]
        }
    "##]]
    .assert_eq(&dot(&workflow, None));
}
