//! Which connection speaks for a device now. MQTT has one for each client id: a newcomer takes it over, and begins only
//! when the other has ended. So what the old one still had under way is answered before its repeats can come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tidings_proto::{CloseCode, DeviceId, UserId};
use tokio_util::sync::CancellationToken;

use crate::session::outbox::Outbox;

/// How long a newcomer waits for the other one's end.
const END_WAIT: Duration = Duration::from_secs(15);

type Key = (UserId, DeviceId);

/// As many as there are connections.
#[derive(Default)]
pub struct Seats {
    taken: Mutex<HashMap<Key, Taken>>,
    /// How many came so far.
    comers: AtomicU64,
}

struct Taken {
    /// The so many-th to come has it.
    comer: u64,
    ended: CancellationToken,
    /// None until it is attached.
    outbox: Option<Arc<Outbox>>,
    /// Somebody else waits for the seat.
    is_wanted: bool,
}

/// A device's one connection, until it is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    key: Key,
    ended: CancellationToken,
}

impl Seats {
    /// Ends the device's connection, if there is one, and takes its place. `None`: it did not end in time, or somebody who came later
    /// has the place: a client that was cut while it waited must not push out the one it is now.
    pub async fn take(self: &Arc<Self>, user: &UserId, device: &DeviceId) -> Option<Seat> {
        let key = (user.clone(), device.clone());
        let comer = self.comers.fetch_add(1, Relaxed);
        let take = async {
            loop {
                let ended = match self.try_take(&key, comer)? {
                    Ok(ended) => return Some(Seat { seats: self.clone(), key: key.clone(), ended }),
                    Err(ended) => ended,
                };
                ended.cancelled().await;
            }
        };
        tokio::time::timeout(END_WAIT, take).await.ok().flatten()
    }

    /// `Err`: when the other has ended. `None`: the other came later.
    fn try_take(&self, key: &Key, comer: u64) -> Option<Result<CancellationToken, CancellationToken>> {
        let mut taken = self.taken.lock();
        if let Some(other) = taken.get_mut(key) {
            if other.comer > comer {
                return None;
            }
            other.is_wanted = true;
            if let Some(outbox) = &other.outbox {
                outbox.close(CloseCode::Replaced);
            }
            return Some(Err(other.ended.clone()));
        }
        let ended = CancellationToken::new();
        taken.insert(key.clone(), Taken { comer, ended: ended.clone(), outbox: None, is_wanted: false });
        Some(Ok(ended))
    }
}

impl Seat {
    /// From now on this is what ends the connection.
    pub fn attach(&self, outbox: &Arc<Outbox>) {
        if let Some(taken) = self.seats.taken.lock().get_mut(&self.key) {
            taken.outbox = Some(outbox.clone());
            if taken.is_wanted {
                outbox.close(CloseCode::Replaced);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.lock().remove(&self.key);
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outbox::Next;

    #[tokio::test]
    async fn a_newcomer_closes_the_other_and_waits_for_its_end() {
        let seats = Arc::new(Seats::default());
        let (ada, phone) = (UserId::new("ada").unwrap(), DeviceId::new("phone").unwrap());
        let first = seats.take(&ada, &phone).await.unwrap();
        let outbox = Arc::new(Outbox::new(1_000));
        first.attach(&outbox);
        let (waiting, user, device) = (seats.clone(), ada.clone(), phone.clone());
        let second = tokio::spawn(async move { waiting.take(&user, &device).await.is_some() });
        outbox.changed().await;
        assert_eq!(outbox.take(&mut Vec::new(), 1), Next::Close(CloseCode::Replaced));
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
    }

    #[test]
    fn who_came_later_is_not_pushed_out_by_who_waited_longer() {
        let seats = Seats::default();
        let key = (UserId::new("ada").unwrap(), DeviceId::new("phone").unwrap());
        let first = seats.try_take(&key, 1).unwrap().unwrap();
        assert!(seats.try_take(&key, 2).unwrap().is_err() && seats.try_take(&key, 3).unwrap().is_err());
        seats.taken.lock().remove(&key);
        first.cancel();
        assert!(seats.try_take(&key, 3).unwrap().is_ok());
        assert!(seats.try_take(&key, 2).is_none());
        assert!(seats.try_take(&key, 4).unwrap().is_err(), "the newest is waited for");
    }
}
