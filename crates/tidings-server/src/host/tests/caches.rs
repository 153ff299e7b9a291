//! Homes that come into memory and go while their changes are on the way.

use std::sync::Arc;

use crate::{
    home::event::HomeChange,
    host::{Dormant, Waiting},
    journal::memory::MemoryJournal,
    session::reply::{Answer, Reply},
    tables::memory::MemoryTables,
};

use super::{Rig, user};

#[tokio::test]
async fn a_block_and_its_end_stay_in_order_though_the_home_goes_in_between() {
    let rig = Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
    let (ada, mal) = (user("ada"), user("mal"));
    rig.make_known(&["ada".to_owned(), "mal".to_owned()]).await;
    rig.flush().await;
    let hold = rig.journal.hold();
    let mut answers = Vec::new();
    for on in [true, false] {
        let (reply, answer) = Reply::to_call();
        rig.host.block(&ada, &mal, on, reply).await;
        answers.push(answer);
        rig.host.homes.give_up(0, u64::MAX);
        assert!(rig.host.homes.get(&ada).is_none(), "nobody holds the home");
    }
    drop(hold);
    for answer in answers {
        assert_eq!(answer.await.expect("every request is answered"), Answer::Done);
    }
    let home = rig.host.home(&ada).await.expect("readable");
    assert!(!home.lock().state.row.blocks(&mal), "the end of the block is the newer one");
    rig.crash().await;
}

#[test]
fn a_home_read_before_a_flush_that_ended_is_read_again() {
    let (dormant, ada) = (Dormant::default(), user("ada"));
    let seen = |at_ms| Waiting::Change(HomeChange::Left { at_ms });
    let before = dormant.flushes();
    dormant.push(&ada, seen(1));
    dormant.begin_flush();
    dormant.push(&ada, seen(2));
    dormant.end_flush();
    assert!(dormant.wake(&ada, before).is_none(), "the first change may not have been read");
    let waiting = dormant.wake(&ada, dormant.flushes()).expect("no flush ended since");
    assert_eq!(waiting.len(), 1, "the second one still waits");
}
