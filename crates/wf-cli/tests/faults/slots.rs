//! The rows of trees, as they are between two processes.

use std::path::PathBuf;

use wf_store::{SqliteOptions, Store, TreeChange, TreeFilter, TreeRow, TreeStage, TreeUse};

use crate::scene::Scene;
use crate::state::{list, projects};

/// The rows of all projects.
pub(crate) fn rows(scene: &Scene) -> Vec<TreeRow> {
    with_stores(scene, |store| async move { of(&store).await }).into_iter().flatten().collect()
}

/// Changes all rows behind the program's back.
pub(crate) fn change_all(scene: &Scene, change: impl Fn(&mut TreeUse) + Copy) {
    with_stores(scene, |store| async move {
        for row in of(&store).await {
            let mut to = row.used.clone();
            change(&mut to);
            store.trees.change_tree(TreeChange { slot: row.slot, epoch: row.epoch, to }).await.unwrap();
        }
    });
}

/// What lies in the pools and is not waiting for a branch, and what processes have left of their throw-away files.
pub(crate) fn left_over(scene: &Scene) -> Vec<PathBuf> {
    let free: Vec<String> =
        rows(scene).into_iter().filter(|row| row.used.stage == TreeStage::Free).map(|row| row.slot.name).collect();
    let is_left = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        ![".meta", ".kept", ".builds"].contains(&name.as_str()) && !free.contains(&name)
    };
    let in_pools = list(&scene.home().join("cache/trees")).into_iter().flat_map(|pool| list(&pool));
    in_pools.filter(is_left).chain(list(&scene.home().join("scratch"))).collect()
}

async fn of(store: &Store) -> Vec<TreeRow> {
    let listed = store.trees.trees(TreeFilter::default()).await.unwrap();
    listed.into_iter().map(|listed| listed.row).collect()
}

fn with_stores<T, F: Future<Output = T>>(scene: &Scene, work: impl Fn(Store) -> F) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dirs =
        projects(scene).into_iter().map(|project| project.join("store")).filter(|dir| dir.join("store.db").exists());
    dirs.map(|dir| {
        runtime.block_on(async {
            let store = Store::open_sqlite(&dir, SqliteOptions::default()).unwrap();
            let done = work(store.clone()).await;
            store.close().await;
            done
        })
    })
    .collect()
}
