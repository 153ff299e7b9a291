//! Where to do something: here, or at the node that hosts it. What moves at the moment is waited for, for a while.

use std::{sync::Arc, time::Duration};

use tidings_proto::{ShardId, UserId};

use crate::{
    cluster::view::Node,
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
    shards::Place,
};

/// How long what is on its way from one node to another is waited for.
const MOVING_WAIT: Duration = Duration::from_secs(5);

pub(super) enum Located {
    Here,
    There(Arc<Node>),
}

impl Host {
    /// The others of the fleet. Nobody is elsewhere where there are none.
    pub(super) fn peers(&self) -> &Arc<Peers> {
        self.peers.get().expect("only a fleet has shards elsewhere, and it has peers before it has shards")
    }

    /// Where a shard is; waits while it moves.
    pub(super) async fn locate(&self, shard: ShardId) -> Result<Located, ActError> {
        if self.shards.is_here(shard) {
            return Ok(Located::Here);
        }
        Box::pin(self.locate_elsewhere(shard)).await
    }

    async fn locate_elsewhere(&self, shard: ShardId) -> Result<Located, ActError> {
        let wait = tokio::time::sleep(MOVING_WAIT);
        tokio::pin!(wait);
        loop {
            let changed = self.shards.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.shards.place(shard) {
                Place::Here => return Ok(Located::Here),
                Place::There(node) => return Ok(Located::There(node)),
                Place::Moving => {}
            }
            tokio::select! {
                () = changed => {}
                () = &mut wait => return Err(ActError::Answered(Box::new(Answer::moving()))),
            }
        }
    }

    /// The own rows of users, each in its place, from the nodes that have their homes.
    pub async fn home_rows_anywhere(&self, users: &[UserId]) -> Result<Vec<HomeRow>, ActError> {
        if users.iter().all(|user| self.shards.is_here(user.shard())) {
            return Ok(self.home_rows(users).await?);
        }
        let mut rows = Vec::with_capacity(users.len());
        for user in users {
            rows.push(self.home_row_anywhere(user).await?);
        }
        Ok(rows)
    }

    async fn home_row_anywhere(&self, user: &UserId) -> Result<HomeRow, ActError> {
        loop {
            match self.locate(user.shard()).await? {
                Located::Here => {
                    return Ok(self.home_rows(std::slice::from_ref(user)).await?.pop().unwrap_or_default());
                }
                Located::There(node) => match self.peers().ask(&node, user.shard(), Ask::Home(user.clone())).await {
                    Ok(Said::Home(row)) => return Ok(*row),
                    Ok(_) | Err(ActError::Elsewhere) => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Has the home's node change it. Durable when this returns.
    pub(super) async fn change_anywhere(&self, event: HomeEvent) -> Result<(), ActError> {
        loop {
            let changed = match self.locate(event.user.shard()).await? {
                Located::Here => self.change_here(event.clone()).await,
                Located::There(node) => {
                    let ask = Ask::Change(Box::new(event.clone()));
                    self.peers().ask(&node, event.user.shard(), ask).await.map(|_| ())
                }
            };
            match changed {
                Err(ActError::Elsewhere) => {}
                changed => return changed,
            }
        }
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
