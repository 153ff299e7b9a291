//! Journals and tables on three real Cassandra nodes, and what becomes of them when nodes hang and die. `make test` starts
//! the nodes; without them: `scripts/fleet/cassandra.sh start`, then
//! `cargo test -p tidings-server --lib cassandra::tests:: -- --ignored --test-threads 1`.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use super::{
    Store,
    check::Unsafe,
    connect::{Options, TlsOptions},
    schema,
};

mod failures;
mod fleet;
mod journals;
mod tables;

const PATIENCE: Duration = Duration::from_secs(120);

/// Calls the script that keeps the nodes.
fn nodes(words: &[&str]) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/cassandra.sh");
    let output = Command::new(script).args(words).output().expect("the script can be run");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Brings back a paused node, whatever becomes of the test.
struct Paused(&'static [&'static str]);

impl Paused {
    fn nodes(which: &'static [&'static str]) -> Self {
        nodes(&[&["pause"], which].concat());
        Self(which)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        nodes(&[&["resume"], self.0].concat());
    }
}

fn options(keyspace: &str) -> Options {
    Options {
        nodes: nodes(&["contacts"]).split(',').map(str::to_owned).collect(),
        keyspace: keyspace.to_owned(),
        user: None,
        password: None,
        tls: None,
        requests: 64,
    }
}

/// Connected to the keyspace that all these tests share, made by the first of them: journals have ids of their own.
async fn store() -> Arc<Store> {
    let store = Store::connect(&options("tidings_tests")).await.expect("the nodes answer");
    if store.missing_tables().await.expect("the nodes answer").is_empty() {
        return Arc::new(store);
    }
    store.apply_schema(3).await.expect("the schema is taken");
    Arc::new(Store::connect(&options("tidings_tests")).await.expect("the nodes answer"))
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it is done in time")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn under_tls_only_nodes_that_are_known_are_spoken_with() {
    let trusting = |ca_file: PathBuf| Options {
        tls: Some(TlsOptions { ca_file: Some(ca_file), client: None }),
        ..options("tidings_nowhere")
    };
    let store = in_time(Store::connect(&trusting(nodes(&["certificate"]).into()))).await.expect("they are known");
    assert_eq!(store.check(3).await.unwrap(), [Unsafe::NoKeyspace { keyspace: "tidings_nowhere".to_owned() }]);
    let other = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/keys/tls.pem");
    let refused = in_time(Store::connect(&trusting(other))).await;
    assert!(refused.is_err(), "it speaks with anybody");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn the_schema_is_applied_twice_and_an_unsafe_keyspace_is_refused() {
    let store = store().await;
    store.apply_schema(3).await.unwrap();
    assert_eq!(store.check(3).await.unwrap(), []);
    assert_eq!(
        store.check(5).await.unwrap(),
        [Unsafe::Replicas { keyspace: "tidings_tests".to_owned(), found: 3, wanted: 5 }]
    );
    let nowhere = Store::connect(&options("tidings_nowhere")).await.unwrap();
    assert_eq!(nowhere.check(3).await.unwrap(), [Unsafe::NoKeyspace { keyspace: "tidings_nowhere".to_owned() }]);

    let poor = Store::connect(&options("tidings_poor")).await.unwrap();
    let made = schema::statements("tidings_poor", 1)[0].replace("durable_writes = true", "durable_writes = false");
    poor.session().query_unpaged(made, ()).await.unwrap();
    let found = poor.check(3).await.unwrap();
    poor.session().query_unpaged("DROP KEYSPACE tidings_poor", ()).await.unwrap();
    assert!(matches!(&found[0], Unsafe::MissingTables { tables, .. } if tables.len() == 15), "{found:?}");
    assert!(matches!(&found[1], Unsafe::NotDurable { .. }), "{found:?}");
    assert!(matches!(&found[2], Unsafe::Replicas { found: 1, wanted: 3, .. }), "{found:?}");
    assert_eq!(found.len(), 3);
}
