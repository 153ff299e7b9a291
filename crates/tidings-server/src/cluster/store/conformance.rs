//! What every store of a fleet must do. Shards and view of the store under test are nobody else's; they need not be empty.

use tidings_proto::ShardId;

use super::{ClusterStore, Move, PART_SHARDS, Part, ShardRow};
use crate::{
    cluster::view::{Node, View},
    node::NodeId,
};

/// Shards that are moved together, of a part that has some more.
const MANY: usize = 200;

pub async fn run(store: &impl ClusterStore) {
    a_view_is_swapped_only_for_the_one_expected(store).await;
    of_those_who_swap_at_once_one_wins(store).await;
    rows_move_together_or_not_at_all(store).await;
    of_those_who_move_at_once_one_wins(store).await;
    a_claim_that_cannot_be_told_is_not_told(store).await;
    the_highest_beat_stands_and_the_forgotten_stay_away(store).await;
}

fn node(name: &str) -> Node {
    Node { url: format!("https://{name}.chat.example"), ..Node::new(NodeId::random(), name, format!("{name}:8090")) }
}

async fn a_view_is_swapped_only_for_the_one_expected(store: &impl ClusterStore) {
    let first = store.view().await.unwrap();
    let joined = first.joined(node("one")).unwrap();
    assert!(store.swap_view(first.epoch, &joined).await.unwrap());
    assert_eq!(store.view().await.unwrap(), joined);
    let late = first.joined(node("late")).unwrap();
    assert!(!store.swap_view(first.epoch, &late).await.unwrap());
    assert!(!store.swap_view(joined.epoch + 1, &late).await.unwrap());
    assert_eq!(store.view().await.unwrap(), joined);
    let next = joined.joined(node("two")).unwrap();
    assert!(store.swap_view(joined.epoch, &next).await.unwrap());
    assert_eq!(store.view().await.unwrap(), next);
}

async fn of_those_who_swap_at_once_one_wins(store: &impl ClusterStore) {
    let before = store.view().await.unwrap();
    let rivals: Vec<View> = (0..6).map(|number| before.joined(node(&format!("rival-{number}"))).unwrap()).collect();
    let swaps = rivals.iter().map(|rival| store.swap_view(before.epoch, rival));
    let won = futures_util::future::join_all(swaps).await;
    let won: Vec<_> = won.into_iter().zip(&rivals).filter_map(|(won, rival)| won.unwrap().then_some(rival)).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(store.view().await.unwrap(), *won[0]);
}

/// The rows of the first `count` shards of a part.
async fn rows(store: &impl ClusterStore, part: Part, count: usize) -> Vec<(ShardId, ShardRow)> {
    let mut rows = store.shards(part).await.unwrap();
    let shards: Vec<_> = rows.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(shards, part.shards().collect::<Vec<_>>(), "all shards of the part, in order");
    assert_eq!(rows.len(), usize::from(PART_SHARDS));
    rows.truncate(count);
    rows
}

fn moved(rows: &[(ShardId, ShardRow)], host: NodeId) -> Vec<Move> {
    let to = |from: ShardRow| ShardRow { host: Some(host), epoch: from.epoch + 1 };
    rows.iter().map(|&(shard, from)| Move { shard, from, to: to(from) }).collect()
}

async fn rows_move_together_or_not_at_all(store: &impl ClusterStore) {
    let part = Part(3);
    let (one, other) = (NodeId::random(), NodeId::random());
    let before = rows(store, part, MANY).await;
    assert!(store.move_shards(part, &moved(&before, one)).await.unwrap());
    let after = rows(store, part, MANY).await;
    for ((shard, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(*after, ShardRow { host: Some(one), epoch: before.epoch + 1 }, "{shard:?}");
    }
    // The last one is not as expected: by its host, by its epoch, or because it was expected to be new.
    let last = after[MANY - 1].1;
    let wrong_host = ShardRow { host: Some(other), ..last };
    for wrong in [wrong_host, ShardRow { epoch: last.epoch + 1, ..last }, ShardRow::default()] {
        let mut moves = moved(&after, other);
        moves.last_mut().expect("there are some").from = wrong;
        assert!(!store.move_shards(part, &moves).await.unwrap(), "{wrong:?}");
        assert_eq!(rows(store, part, MANY).await, after);
    }
    // Shards that stood and such that were new, together; the epoch may stay where the host changes.
    let wider = &rows(store, part, MANY + 8).await[MANY - 8..];
    let mut moves = moved(wider, other);
    moves[0].to.epoch = moves[0].from.epoch;
    assert!(store.move_shards(part, &moves).await.unwrap());
    let now = rows(store, part, MANY + 8).await;
    assert_eq!(now[..MANY - 8], after[..MANY - 8]);
    let expected: Vec<_> = moves.iter().map(|one| (one.shard, one.to)).collect();
    assert_eq!(now[MANY - 8..], expected);
}

/// Each of them wants a run of shards that overlaps with those of its neighbours.
async fn of_those_who_move_at_once_one_wins(store: &impl ClusterStore) {
    let part = Part(5);
    let before = rows(store, part, 30).await;
    let rivals: Vec<_> = (0..5).map(|number| (NodeId::random(), &before[number * 5..number * 5 + 10])).collect();
    let plans: Vec<_> = rivals.iter().map(|(rival, rows)| moved(rows, *rival)).collect();
    let won = futures_util::future::join_all(plans.iter().map(|plan| store.move_shards(part, plan))).await;
    let won: Vec<bool> = won.into_iter().map(Result::unwrap).collect();
    let after = rows(store, part, 30).await;
    for (number, (rival, wanted)) in rivals.iter().enumerate() {
        let has = |(shard, _): &(ShardId, ShardRow)| {
            let (_, row) = after.iter().find(|(other, _)| other == shard).expect("all rows are there");
            row.host == Some(*rival)
        };
        let count = wanted.iter().filter(|row| has(row)).count();
        assert_eq!(count, if won[number] { wanted.len() } else { 0 }, "rival {number}");
    }
    assert!(won.contains(&true));
}

/// Two who claim the same shard of a dead host want the same row. At most one may believe that it is its own.
async fn a_claim_that_cannot_be_told_is_not_told(store: &impl ClusterStore) {
    let part = Part(7);
    let dead = NodeId::random();
    let free = rows(store, part, 8).await;
    assert!(store.move_shards(part, &moved(&free, dead)).await.unwrap());
    let taken = rows(store, part, 8).await;
    let claim = moved(&taken, dead);
    assert!(claim.iter().all(Move::may_be_anybodys));
    let claims = futures_util::future::join_all((0..4).map(|_| store.move_shards(part, &claim))).await;
    let won = claims.into_iter().filter(|claim| *claim.as_ref().unwrap()).count();
    assert!(won <= 1, "{won} claims");
    let expected: Vec<_> = claim.iter().map(|one| (one.shard, one.to)).collect();
    assert_eq!(rows(store, part, 8).await, expected);
}

async fn the_highest_beat_stands_and_the_forgotten_stay_away(store: &impl ClusterStore) {
    let (one, other) = (NodeId::random(), NodeId::random());
    for (node, counter) in [(one, 1), (other, 7), (one, 3), (one, 2)] {
        store.beat(node, counter).await.unwrap();
    }
    let beats = store.beats().await.unwrap();
    assert_eq!((beats[&one], beats[&other]), (3, 7));
    store.forget(other).await.unwrap();
    store.beat(other, 1_000).await.unwrap();
    let beats = store.beats().await.unwrap();
    assert_eq!((beats.get(&one), beats.get(&other)), (Some(&3), None));
    store.forget(one).await.unwrap();
}
