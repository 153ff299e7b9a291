//! What a client listens to, and what its home keeps of that.

use crate::{
    home::{
        event::HomeChange,
        kept::{InboxSubscription, KeptSession, NEVER_S},
    },
    session::{
        execute::{paced, take_request},
        reply::Answer,
    },
};

use super::{
    connection::{Client, Done, End},
    deliveries::Deliveries,
    topics::{Source, is_filter},
    wire::{Filter, Reason, Subscribe},
};

impl Client {
    pub async fn on_subscribe(&mut self, subscribe: Subscribe) -> Done {
        if !self.may_ask().await? {
            let reasons = vec![Reason::QUOTA; subscribe.filters.len()];
            self.connection.wire.put_suback(&mut self.connection.out, subscribe.packet_id, &reasons);
            return Ok(());
        }
        let mut kept = self.session.kept.clone();
        let grant = |filter: &Filter| {
            if subscribe.has_identifier { Reason::NO_IDENTIFIERS } else { grant(&mut kept, filter) }
        };
        let reasons: Vec<Reason> = subscribe.filters.iter().map(grant).collect();
        self.change_subscriptions(kept).await?;
        self.connection.wire.put_suback(&mut self.connection.out, subscribe.packet_id, &reasons);
        Ok(())
    }

    pub async fn on_unsubscribe(&mut self, packet_id: u16, filters: &[String]) -> Done {
        if !self.may_ask().await? {
            // This answer has no code that says more.
            let reasons = vec![Reason::UNSPECIFIED; filters.len()];
            self.connection.wire.put_unsuback(&mut self.connection.out, packet_id, &reasons);
            return Ok(());
        }
        let mut kept = self.session.kept.clone();
        let reasons: Vec<Reason> = filters
            .iter()
            .map(|filter| {
                let was_there = match Source::of(filter) {
                    Some(Source::Inbox) => kept.inbox.take().is_some(),
                    Some(Source::Live) => std::mem::take(&mut kept.live),
                    Some(Source::Answer) => std::mem::take(&mut kept.answer),
                    None => false,
                };
                if was_there { Reason::SUCCESS } else { Reason::NO_SUBSCRIPTION }
            })
            .collect();
        self.change_subscriptions(kept).await?;
        self.connection.wire.put_unsuback(&mut self.connection.out, packet_id, &reasons);
        Ok(())
    }

    /// What is listened to costs a request of the device's rate, as any frame does; a little too fast is read more slowly.
    async fn may_ask(&mut self) -> Result<bool, End> {
        let host = self.connection.edge.host.clone();
        let taken = take_request(&host, &self.attachment.caller);
        let paced = self.drive(paced(taken)).await?;
        Ok(paced.inspect_err(|refusal| refusal.count(&host.metrics)).is_ok())
    }

    /// From now on the client listens to this. It is durable, where the session is to last, before the client learns of it.
    async fn change_subscriptions(&mut self, kept: KeptSession) -> Done {
        let (before, after) = (self.session.kept.inbox, kept.inbox);
        if before != after {
            let store = self.store_cursors();
            self.drive(store).await?;
        }
        if self.session.is_kept && kept != self.session.kept {
            let begins = after.is_some() && before.map(|inbox| inbox.cursors) != after.map(|inbox| inbox.cursors);
            self.keep(Some(kept.clone()), begins).await.map_err(|_| End::Fault(Reason::UNSPECIFIED))?;
        }
        self.session.kept = kept;
        match (before, after) {
            (Some(before), Some(after)) if before.qos == after.qos => {}
            (_, None) => self.session.deliveries = None,
            (_, Some(after)) => self.begin_deliveries(after).await?,
        }
        Ok(())
    }

    /// Everything that the log has beyond the device's cursors is owed to it.
    pub async fn begin_deliveries(&mut self, inbox: InboxSubscription) -> Done {
        let mut deliveries = Deliveries::new((inbox.qos > 0).then_some(self.session.window));
        if self.session.is_kept {
            let host = self.connection.edge.host.clone();
            let behind = host.behind(&self.attachment.caller.home, inbox.cursors).await;
            let behind = behind.map_err(|error| {
                host.answer(error);
                End::Fault(Reason::UNSPECIFIED)
            })?;
            for place in behind {
                deliveries.begin(place.conversation, place.seq);
            }
        }
        self.session.deliveries = Some(deliveries);
        Ok(())
    }

    /// Stores what the home keeps of this session. Of a client that says goodbye for ever nothing is left but its publishes.
    pub async fn keep(&mut self, session: Option<KeptSession>, begins: bool) -> Result<(), Answer> {
        let host = self.connection.edge.host.clone();
        let caller = self.attachment.caller.clone();
        let known = caller.home.lock().state.row.kept(&caller.device).and_then(|kept| kept.session.clone());
        // One that never ends need not know when it was left.
        let is_same = |known: &KeptSession, session: &KeptSession| {
            session.expiry_s == NEVER_S && *known == KeptSession { left_at_ms: known.left_at_ms, ..session.clone() }
        };
        match (&known, &session) {
            (None, None) => return Ok(()),
            (Some(known), Some(session)) if is_same(known, session) => return Ok(()),
            _ => {}
        }
        host.keep_session(&caller.home, &caller.device, session, begins).await
    }

    /// What a publish leaves in the home, so that a repeat is known as one.
    pub fn remembered(&self, published: crate::home::kept::Published) -> HomeChange {
        HomeChange::Published { device: self.attachment.caller.device.clone(), published }
    }
}

/// Adds a filter to what is listened to, and answers for it.
fn grant(kept: &mut KeptSession, filter: &Filter) -> Reason {
    let name = filter.filter.as_str();
    if name.starts_with("$share/") {
        return Reason::NO_SHARED;
    }
    if !is_filter(name) {
        return Reason::TOPIC_FILTER;
    }
    match Source::of(name) {
        Some(Source::Inbox) => {
            let qos = filter.qos.min(1);
            let cursors = kept.inbox.map_or_else(rand::random, |inbox| inbox.cursors);
            kept.inbox = Some(InboxSubscription { cursors, qos, no_local: filter.no_local });
            Reason(qos)
        }
        // What comes there is told once, to whoever is there.
        Some(Source::Live) => {
            kept.live = true;
            Reason::SUCCESS
        }
        Some(Source::Answer) => {
            kept.answer = true;
            Reason::SUCCESS
        }
        None => Reason::NOT_AUTHORIZED,
    }
}
