//! What was said on one connection and is not acknowledged: a publish each, answered in their order. Pure.

use std::collections::VecDeque;

use tidings_proto::frames::{
    RequestId,
    server::{Refused, Sent, ServerFrame},
};

use super::wire::Puback;
use crate::error::Lost;

/// A publish on its way.
#[derive(Debug)]
struct UnderWay {
    packet_id: u16,
    purpose: Purpose,
}

/// What is said with it.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A message, whose acknowledgement is the answer, under this name.
    Send(Option<RequestId>),
    /// Anything else: the answer comes as a frame.
    Request,
    /// The same, with a new token.
    Renewal(String),
}

/// What an acknowledgement brings.
#[derive(Debug)]
pub(super) enum Acknowledged {
    Answer(Box<ServerFrame<'static>>),
    /// This token counts from now on.
    Renewed(String),
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Publishes {
    under_way: VecDeque<UnderWay>,
    last_packet_id: u16,
    begun: u64,
    ended: u64,
}

impl Publishes {
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// How many were begun so far.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many of those, from the first on, were acknowledged.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Begins one, and gives it a packet id.
    pub fn begin(&mut self, purpose: Purpose) -> u16 {
        // Far fewer are under way than there are ids.
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.begun += 1;
        self.under_way.push_back(UnderWay { packet_id: self.last_packet_id, purpose });
        self.last_packet_id
    }

    /// The oldest was acknowledged.
    pub fn acknowledged(&mut self, puback: &Puback) -> Result<Acknowledged, Lost> {
        let broken = |what: &str| Lost::Broken(format!("an acknowledgement {what}"));
        let is_first = self.under_way.front().is_some_and(|first| first.packet_id == puback.packet_id);
        let first = self.under_way.pop_front().filter(|_| is_first).ok_or_else(|| broken("out of order"))?;
        self.ended += 1;
        let re = match first.purpose {
            Purpose::Send(re) => re,
            Purpose::Renewal(token) if !puback.is_refused => return Ok(Acknowledged::Renewed(token)),
            Purpose::Renewal(_) | Purpose::Request => return Ok(Acknowledged::Nothing),
        };
        let property = |name: &str| puback.properties.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        if puback.is_refused {
            let code = property("code")
                .and_then(|code| code.parse().ok())
                .ok_or_else(|| broken("that does not say why not"))?;
            let users = puback.properties.iter().filter(|(key, _)| key == "user");
            return Ok(Acknowledged::Answer(Box::new(ServerFrame::Error(Refused {
                re,
                code,
                message: property("message").unwrap_or_default().to_owned(),
                retry_after_ms: property("retry_after_ms").and_then(|wait| wait.parse().ok()),
                users: users.filter_map(|(_, user)| user.parse().ok()).collect(),
                login_url: None,
            }))));
        }
        let sent = (|| {
            Some(Sent {
                re,
                conversation: property("conversation")?.parse().ok()?,
                seq: tidings_proto::Seq(property("seq")?.parse().ok()?),
                at: property("at")?.parse().ok()?,
                repeat: property("repeat") == Some("true"),
            })
        })();
        sent.map(|sent| Acknowledged::Answer(Box::new(ServerFrame::Sent(sent))))
            .ok_or_else(|| broken("that does not say where"))
    }
}
