//! What a fleet's nodes agree on, on real nodes.

use std::collections::HashSet;

use super::*;
use crate::cluster::store::{ClusterStore, Move, Part, ShardRow, conformance};
use crate::{cassandra::fleet::CassandraCluster, node::NodeId};

/// Nobody else's: there is one view and one row of each shard in a keyspace.
async fn cluster() -> CassandraCluster {
    CassandraCluster::open(store().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn the_store_of_a_fleet_conforms() {
    in_time(conformance::run(&cluster().await)).await;
}

/// Attempts that time out are repeated, and may have been applied: whoever is told of success has the rows, and whoever is
/// not has none of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn while_one_node_hangs_rivals_move_rows_and_each_knows_what_became_of_it() {
    let cluster = Arc::new(cluster().await);
    let part = Part(9);
    let before = cluster.shards(part).await.unwrap();
    let paused = Paused::nodes(&["2"]);
    let rivals = (0..4).map(|_| {
        let (cluster, before) = (cluster.clone(), before.clone());
        tokio::spawn(async move {
            let me = NodeId::random();
            let to = |from: ShardRow| ShardRow { host: Some(me), epoch: from.epoch + 1 };
            let moves: Vec<_> = before.iter().map(|&(shard, from)| Move { shard, from, to: to(from) }).collect();
            (me, cluster.move_shards(part, &moves).await.unwrap())
        })
    });
    let told = in_time(futures_util::future::join_all(rivals)).await;
    drop(paused);
    let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
    let rows = cluster.shards(part).await.unwrap();
    let hosts: HashSet<_> = rows.iter().filter_map(|(_, row)| row.host).collect();
    assert_eq!(hosts.len(), 1, "all or nothing");
    for (rival, has_won) in &told {
        assert_eq!(*has_won, hosts.contains(rival), "{told:?}");
    }
}
