//! What the client is owed: what happens now, out of the outbox, and what it missed, out of the log.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tidings_proto::{
    ConversationId, Seq,
    frames::{
        client::Page,
        server::{LiveEntry, ServerFrame},
    },
};
use tokio::time::Instant;

use crate::{
    host::act::ActError,
    session::execute::{Fetched, fetch},
};

use super::{
    connection::{Client, Done, End},
    deliveries::Deliveries,
    topics::Source,
    wire::{Delivery, Reason},
};

/// Read from the log at once.
const PAGE: usize = 32;
/// How the ids begin that an import gives: what it brings was handed to nobody.
const IMPORTED: &str = "import:";

/// What there is to know of a frame before it goes on.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    re: Option<i64>,
    conversation: Option<ConversationId>,
    seq: Option<Seq>,
    after_ms: Option<u64>,
}

impl Client {
    /// A frame of the outbox: an answer to a publish, or something that happened.
    pub fn on_frame(&mut self, frame: &Bytes) -> Done {
        let Ok(text) = std::str::from_utf8(frame) else { return Ok(()) };
        if let Some((conversation, seq)) = entry_place(text) {
            self.on_entry(conversation, seq, frame);
            return Ok(());
        }
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else { return Ok(()) };
        match (head.kind, head.re, head.conversation, head.seq) {
            ("entry", None, Some(conversation), Some(seq)) => {
                self.on_entry(conversation, seq, frame);
                Ok(())
            }
            (_, Some(number), conversation, seq) => {
                let has_echo = !self.session.kept.inbox.is_some_and(|inbox| inbox.no_local);
                if let (Some(deliveries), Some(conversation), Some(seq), false) =
                    (&mut self.session.deliveries, conversation, seq, has_echo)
                {
                    deliveries.skip_own(conversation, seq);
                }
                match ServerFrame::parse(text) {
                    Ok(Some(answer)) => self.answered(number, answer),
                    _ => Ok(()),
                }
            }
            ("move", ..) => {
                // Clients of this protocol cannot be told to come back later: the server spreads their going.
                let wait_ms = rand::random_range(0..=head.after_ms.unwrap_or(0));
                self.session.leave_at = Some(Instant::now() + Duration::from_millis(wait_ms));
                Ok(())
            }
            _ => {
                if self.session.kept.live {
                    self.publish(Source::Live, None, frame);
                }
                Ok(())
            }
        }
    }

    fn on_entry(&mut self, conversation: ConversationId, seq: Seq, frame: &Bytes) {
        let is_next = self.session.deliveries.as_mut().is_some_and(|all| all.take(conversation, seq));
        if is_next {
            self.deliver(conversation, seq, frame);
        }
    }

    pub fn is_behind(&self) -> bool {
        self.session.deliveries.as_ref().is_some_and(|deliveries| deliveries.next_behind().is_some())
    }

    /// Reads a page of what the client lacks and may get now.
    pub async fn catch_up(&mut self) -> Done {
        let Some(deliveries) = &self.session.deliveries else { return Ok(()) };
        let Some((conversation, after)) = deliveries.next_behind() else { return Ok(()) };
        let limit = deliveries.room().min(PAGE);
        let host = self.connection.edge.host.clone();
        let page = Page { after: Some(after), limit: Some(limit), ..Page::default() };
        // Nothing is taken from the outbox between this read and the note that it is done: what is told after the read
        // follows on what was read.
        let fetched = match fetch(&host, &self.attachment.caller, conversation, page).await {
            Ok(fetched) => fetched,
            // No longer a member: what is left there is not for this user.
            Err(ActError::Refused(_)) => {
                self.deliveries(|deliveries| deliveries.caught_up(true));
                return Ok(());
            }
            Err(error) => {
                host.answer(error);
                return Err(End::Fault(Reason::UNSPECIFIED));
            }
        };
        let is_all =
            fetched.entries.len() < limit && fetched.entries.last().is_none_or(|last| last.seq >= fetched.last_seq());
        self.deliver_page(conversation, &fetched);
        self.deliveries(|deliveries| deliveries.caught_up(is_all));
        self.note_moved();
        Ok(())
    }

    fn deliver_page(&mut self, conversation: ConversationId, fetched: &Fetched) {
        let caller = self.attachment.caller.clone();
        let no_local = self.session.kept.inbox.is_some_and(|inbox| inbox.no_local);
        let shown = fetched.shown(&caller).entries;
        for (entry, stored) in shown.into_iter().zip(&fetched.entries) {
            let seq = stored.seq;
            let is_imported = stored.client_msg_id.as_deref().is_some_and(|id| id.starts_with(IMPORTED));
            let is_own = |all: &Deliveries| no_local && all.is_own(conversation, seq);
            if is_imported || self.session.deliveries.as_ref().is_some_and(is_own) {
                self.deliveries(|deliveries| deliveries.pass(conversation, seq));
                continue;
            }
            let frame = ServerFrame::Entry(LiveEntry { conversation, entry }).to_json();
            self.deliver(conversation, seq, frame.as_bytes());
        }
    }

    /// The next entry of its conversation goes out.
    fn deliver(&mut self, conversation: ConversationId, seq: Seq, frame: &[u8]) {
        let Some(deliveries) = &mut self.session.deliveries else { return };
        let packet_id = deliveries.send(conversation, seq);
        let is_sent = self.publish(Source::Inbox, packet_id, frame);
        // Larger than the client takes: it counts as delivered (MQTT 5 section 3.1.2.11.4).
        if let (false, Some(packet_id)) = (is_sent, packet_id) {
            self.deliveries(|deliveries| deliveries.acked(packet_id));
        }
    }

    pub fn publish(&mut self, source: Source, packet_id: Option<u16>, frame: &[u8]) -> bool {
        self.connection.edge.host.metrics.sent(frame);
        let delivery = Delivery {
            topic: source.topic(),
            place: Some(source.place()),
            packet_id,
            payload: frame,
            correlation: None,
        };
        self.connection.wire.put_publish(&mut self.connection.out, &delivery)
    }

    fn deliveries(&mut self, change: impl FnOnce(&mut Deliveries)) {
        if let Some(deliveries) = &mut self.session.deliveries {
            change(deliveries);
        }
    }
}

/// Where an entry has its place, as far as that stands where this server writes it: most frames are entries, and reading the
/// whole of one costs more than sending it. `None`: look closer.
fn entry_place(text: &str) -> Option<(ConversationId, Seq)> {
    let rest = text.strip_prefix(r#"{"type":"entry","conversation":""#)?;
    let (conversation, rest) = rest.split_once('"')?;
    let (seq, _) = rest.strip_prefix(r#","seq":"#)?.split_once(',')?;
    Some((conversation.parse().ok()?, Seq(seq.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use tidings_proto::{
        UserId,
        frames::server::{Entry, Kind},
    };

    use super::*;

    #[test]
    fn the_place_of_an_entry_is_read_as_it_is_written() {
        let conversation = ConversationId::group(&UserId::new("ada").unwrap(), "team");
        let text = r#"","seq":9,"type":"sent"#;
        let entry: Entry<'_> =
            serde_json::from_value(serde_json::json!({"seq": 7, "kind": "message", "text": text})).unwrap();
        assert_eq!(entry.kind, Kind::Message);
        let frame = ServerFrame::Entry(LiveEntry { conversation, entry }).to_json();
        assert_eq!(entry_place(&frame), Some((conversation, Seq(7))), "{frame}");
        for other in [
            format!(r#"{{"type":"sent","conversation":"{conversation}","seq":7,"at":1}}"#),
            format!(r#"{{"type":"entry","seq":7,"conversation":"{conversation}"}}"#),
            r#"{"type":"entry","conversation":"?","seq":7,"kind":"void"}"#.to_owned(),
            String::new(),
        ] {
            assert_eq!(entry_place(&other), None, "{other}");
        }
    }
}
