//! Where to do something: here, or at the node that hosts it. What moves at the moment is waited for, for a while.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tidings_proto::{ShardId, UserId};
use tokio::time::Instant;

use crate::{
    home::{event::HomeEvent, state::HomeRow},
    session::reply::{Answer, Reply},
};

use super::{
    Host,
    act::ActError,
    peers::{
        Peers,
        wire::{Ask, Said},
    },
    shards::{Hints, Place},
};

/// How long what is on its way from one node to another is waited for.
pub(crate) const MOVING_WAIT: Duration = Duration::from_secs(5);

/// How long one goes after a shard from node to node.
const SENT_ABOUT: Duration = Duration::from_secs(10);

/// Homes that are asked, or asked to change, at once.
const ASKED_AT_ONCE: usize = 64;

fn moving() -> ActError {
    ActError::Answered(Box::new(Answer::moving()))
}

impl Host {
    /// The others of the fleet. Nobody is elsewhere where there are none.
    pub(super) fn peers(&self) -> &Arc<Peers> {
        self.peers.get().expect("only a fleet has shards elsewhere, and it has peers before it has shards")
    }

    /// Where a shard is: `Here` or `There`; waits while it moves.
    pub(super) async fn locate(&self, shard: ShardId) -> Result<Place, ActError> {
        if self.shards.is_here(shard) {
            return Ok(Place::Here);
        }
        Box::pin(self.locate_elsewhere(shard)).await
    }

    async fn locate_elsewhere(&self, shard: ShardId) -> Result<Place, ActError> {
        let wait = tokio::time::sleep(MOVING_WAIT);
        tokio::pin!(wait);
        loop {
            let changed = self.shards.changed.notified();
            match self.shards.place(shard) {
                // Perhaps where it is by now was said, and not heard.
                Place::Moving => self.shards.hint(Hints::all()),
                place => return Ok(place),
            }
            tokio::select! {
                () = changed => {}
                () = &mut wait => return Err(moving()),
            }
        }
    }

    /// Asks whoever hosts the shard, here or elsewhere; once more where it is now if it has moved meanwhile.
    pub(super) async fn ask_host(&self, shard: ShardId, ask: Ask) -> Result<Said, ActError> {
        let began = Instant::now();
        while began.elapsed() < SENT_ABOUT {
            let said = match self.locate(shard).await? {
                Place::There(node) => self.peers().ask(&node, shard, ask.clone()).await,
                Place::Here | Place::Moving => Box::pin(self.say(None, ask.clone())).await,
            };
            match said {
                Err(ActError::Elsewhere) => {}
                said => return said,
            }
        }
        Err(moving())
    }

    /// The own rows of users, each in its place, from the nodes that have their homes.
    pub async fn home_rows_anywhere(&self, users: &[UserId]) -> Result<Vec<HomeRow>, ActError> {
        if users.iter().all(|user| self.shards.is_here(user.shard())) {
            return Ok(self.home_rows(users).await?);
        }
        let asked: Vec<_> = users.iter().map(|user| self.home_row_anywhere(user.clone()).boxed()).collect();
        stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await
    }

    async fn home_row_anywhere(&self, user: UserId) -> Result<HomeRow, ActError> {
        match self.ask_host(user.shard(), Ask::Home(user)).await? {
            Said::Home(row) => Ok(*row),
            said => Err(said.misplaced()),
        }
    }

    /// Has all these homes changed, whichever nodes have them. Durable when this returns.
    pub(super) async fn change_all_anywhere(&self, events: Vec<HomeEvent>) -> Result<(), ActError> {
        let changes: Vec<_> = events.into_iter().map(|event| self.change_anywhere(event).boxed()).collect();
        stream::iter(changes).buffer_unordered(ASKED_AT_ONCE).try_collect().await
    }

    /// Has the home's node change it. Durable when this returns.
    pub(super) async fn change_anywhere(&self, event: HomeEvent) -> Result<(), ActError> {
        self.ask_host(event.user.shard(), Ask::Change(Box::new(event))).await.map(drop)
    }

    pub(super) async fn change_here(&self, event: HomeEvent) -> Result<(), ActError> {
        let (reply, answer) = Reply::to_call();
        self.submit_home(event, Some(reply)).await?;
        match answer.await {
            Ok(Answer::Done) => Ok(()),
            Ok(refused) => Err(ActError::Answered(Box::new(refused))),
            Err(_) => Err(ActError::Answered(Box::new(Answer::unavailable()))),
        }
    }
}
