//! Tickets: good once and for half a minute, for browsers that can send no header with a WebSocket or an EventSource. They are
//! kept where the user's home is, and say which shard that is: so the node is found that knows them, and no name is in them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use parking_lot::Mutex;
use rand::Rng;
use tidings_proto::{SHARDS, ShardId};

use super::Identity;

pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Tickets that wait to be used. Full of living ones, a new one is good for nothing: its holder asks again.
const TICKETS_MAX: usize = 100_000;

const RANDOM_BYTES: usize = 24;

/// The shard of the home whose ticket this is; `None`: it is none.
pub fn shard(ticket: &str) -> Option<ShardId> {
    let bytes: [u8; RANDOM_BYTES + 2] = URL_SAFE_NO_PAD.decode(ticket).ok()?.try_into().ok()?;
    Some(ShardId(u16::from_be_bytes([bytes[RANDOM_BYTES], bytes[RANDOM_BYTES + 1]]) % SHARDS))
}

#[derive(Default)]
pub struct Tickets {
    /// By ticket: whose, and until when (unix milliseconds).
    given: Mutex<HashMap<String, (Identity, u64)>>,
}

impl Tickets {
    pub fn give(&self, identity: Identity, now_ms: u64) -> String {
        let mut bytes = [0; RANDOM_BYTES + 2];
        let (random, shard) = bytes.split_at_mut(RANDOM_BYTES);
        rand::rng().fill(random);
        shard.copy_from_slice(&identity.user.shard().0.to_be_bytes());
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        let mut given = self.given.lock();
        if given.len() >= TICKETS_MAX {
            given.retain(|_, (_, until_ms)| *until_ms > now_ms);
        }
        if given.len() < TICKETS_MAX {
            let until_ms = now_ms + u64::try_from(TICKET_LIFE.as_millis()).unwrap_or(0);
            // A ticket of a token that ends sooner ends with it.
            let until_ms = identity.expires_ms.map_or(until_ms, |expires_ms| expires_ms.min(until_ms));
            given.insert(ticket.clone(), (identity, until_ms));
        }
        ticket
    }

    pub fn redeem(&self, ticket: &str, now_ms: u64) -> Option<Identity> {
        let (identity, until_ms) = self.given.lock().remove(ticket)?;
        (until_ms > now_ms).then_some(identity)
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto::{DeviceId, UserId};

    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_not_for_long() {
        let ada = || Identity::new(UserId::new("ada").unwrap(), DeviceId::new("laptop").unwrap(), 7);
        let tickets = Tickets::default();
        let ticket = tickets.give(ada(), 1_000);
        assert_eq!(shard(&ticket), Some(ada().user.shard()));
        assert_eq!([shard(""), shard(&ticket[1..]), shard(&format!("{ticket}A"))], [None; 3]);
        assert_eq!(tickets.redeem(&ticket, 30_999), Some(ada()));
        assert_eq!(tickets.redeem(&ticket, 30_999), None);
        assert_eq!(tickets.redeem(&tickets.give(ada(), 1_000), 31_000), None);
        let ends_soon = Identity { expires_ms: Some(2_000), ..ada() };
        assert_eq!(tickets.redeem(&tickets.give(ends_soon.clone(), 1_000), 1_999), Some(ends_soon.clone()));
        assert_eq!(tickets.redeem(&tickets.give(ends_soon, 1_000), 2_000), None);
    }
}
