use std::collections::BTreeMap;
use std::sync::Arc;
use wf_effects::local::{Catalog, LocalEffects, LocalOptions};
use wf_effects::RealClock;
use wf_ir::{Spanned, Value};
use wf_kernel::record::*;
use wf_runtime::*;
fn main() {
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let src = format!(r#"{{"workflow":"fanout","children":[{{"expand":"fan","over":"{n}","width":64,"max_children":20000,"children":[{{"ask":"leaf","prompt":"leaf {{{{ fan.index }}}}"}}]}},{{"reduce":"all","inputs":"fan","how":"concat"}}]}}"#);
    let draft = wf_ir::Draft { root: Spanned::from_value(&Value::from_json(&src).unwrap(), &Default::default()) };
    let (w, d) = wf_ir::validate(&draft);
    let w = Arc::new(w.unwrap_or_else(|| panic!("{d:#?}")));
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async {
        let dir = tempfile::tempdir_in("/work").unwrap();
        let store = wf_store::Store::open_sqlite(dir.path(), Default::default()).unwrap();
        let effects = LocalEffects::new(LocalOptions { catalog: Catalog { rules: Default::default(), seed: 1, is_paced: false }, trees: None, env: Default::default(), scratch_dir: dir.path().join("s"), is_trusted: true });
        let r = Runtime { store: store.clone(), effects: Arc::new(effects), clock: Arc::new(RealClock), owner: "me".into(), presence: None };
        for i in 0..3 {
        let t = std::time::Instant::now();
        let started = RunStarted { semantics: SEMANTICS, run_id: format!("r{i}"), workflow: w.hash(), workflow_name: "fanout".into(), inputs: BTreeMap::new(), seed: 1, budget: Default::default(), base: None, origin: Origin::Test, parent: None, labels: Default::default(), catalog: w.hash(), sandbox: "none".into(), repo: None, rules: None };
        let owned = r.create(NewRun { workflow: w.clone(), started }).await.unwrap();
        let run = owned.run_id().clone();
        let f = owned.drive(DriveOptions::default()).await.unwrap();
        let e = t.elapsed();
        println!("{:?} records {} in {:?}: {:.0} leaves/s; result {:?}", f.end, f.records, e, n as f64 / e.as_secs_f64(), f.state.end().unwrap().result_digest);
        let t = std::time::Instant::now();
        let rep = replay(&store, &run).await.unwrap();
        println!("replay {:?} {:.0} records/s diff {:?}", t.elapsed(), rep.records as f64 / t.elapsed().as_secs_f64(), rep.difference);
        }
        store.close().await;
    });
}
