//! What a home keeps for devices that come back to the same session: beginning it, ending it, and moving its cursors.
//!
//! The log is the queue: nothing that waits for a device is stored but where it is.

use std::sync::Arc;

use tidings_proto::{ConversationId, DeviceId, Seq, UserId};

use crate::{
    home::{
        actor::Home,
        event::{HomeChange, HomeEvent},
        kept::{KeptSession, Place},
    },
    session::reply::{Answer, Reply},
};

use super::{Host, act::ActError, event::Part};

impl Host {
    /// Keeps a device's session as it is now, durably; none: it has ended. With `begins` its subscription to the inbox is
    /// new: what is there now is not owed to it.
    pub async fn keep_session(
        &self,
        home: &Arc<Home>,
        device: &DeviceId,
        session: Option<KeptSession>,
        begins: bool,
    ) -> Result<(), Answer> {
        let mut changes = Vec::new();
        if let Some(inbox) = session.as_ref().and_then(|session| session.inbox).filter(|_| begins) {
            // Large conversations do not tell the home of entries: their cursors stand from the beginning.
            self.ask_large(home).await.map_err(|error| self.answer(error))?;
            let inner = home.lock();
            let large = inner.state.items.iter().filter(|(_, item)| item.is_large() && !item.gone);
            changes.extend(large.map(|(id, item)| {
                let (cursors, conversation, seq) = (inbox.cursors, *id, item.last_seq);
                HomeChange::Delivered { cursors, conversation, seq }
            }));
        }
        changes.insert(0, HomeChange::Kept { device: device.clone(), session });
        let (reply, answer) = Reply::to_call();
        self.commit(of_home(&home.user, changes), reply).await;
        match answer.await {
            Ok(Answer::Done) => Ok(()),
            Ok(refused) => Err(refused),
            Err(_) => Err(Answer::unavailable()),
        }
    }

    /// Where something is not delivered yet to a subscription, in no order.
    pub async fn behind(&self, home: &Arc<Home>, cursors: u64) -> Result<Vec<Place>, ActError> {
        self.ask_large(home).await?;
        let inner = home.lock();
        let owed = inner.state.items.iter().filter(|(_, item)| !item.gone);
        let owed = owed.filter_map(|(id, item)| Some(Place { conversation: *id, seq: item.cursor(cursors)? }));
        Ok(owed.collect())
    }

    /// A device has everything up to these places. The cursors move, if there are some, before this returns; of what it has
    /// acknowledged the others learn that it is delivered. What a crash forgets of it is delivered once more.
    pub async fn delivered(&self, user: &UserId, cursors: Option<u64>, places: &[(ConversationId, Delivered)]) {
        let mut stored = None;
        if let Some(cursors) = cursors {
            let moved = places.iter().map(|(conversation, delivered)| HomeChange::Delivered {
                cursors,
                conversation: *conversation,
                seq: delivered.seq,
            });
            let (reply, answer) = Reply::to_call();
            self.commit(of_home(user, moved.collect()), reply).await;
            stored = Some(answer);
        }
        for (conversation, delivered) in
            places.iter().filter(|(_, delivered)| delivered.is_acked && delivered.seq > Seq::NONE)
        {
            let (reply, _) = Reply::to_call();
            self.mark_delivered(user, *conversation, delivered.seq, reply).await;
        }
        if let Some(stored) = stored {
            // If the journal has failed, nobody is told of it here: the next publish is.
            let _ = stored.await;
        }
    }
}

/// Up to where a device has everything of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub seq: Seq,
    /// It said so; else it was written to its socket, and that was all it asked for.
    pub is_acked: bool,
}

fn of_home(user: &UserId, changes: Vec<HomeChange>) -> smallvec::SmallVec<[Part; 2]> {
    changes.into_iter().map(|change| Part::Home(HomeEvent { user: user.clone(), change })).collect()
}
