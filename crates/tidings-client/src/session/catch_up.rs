//! How a session comes to have everything: the account's state at the start, what was missed, and the gaps between.

use tidings_proto::frames::{
    client::{self, Command},
    server::{Changes, Entries, RangeAnswer},
};

use super::{Directive, GAP_RANGES, RESUME_TAIL, Session};
use crate::{
    cursors::live,
    error::is_transient,
    events::Event,
    frames::start_of,
    outbox::{Purpose, Waiter},
};

impl Session {
    /// What there is at the start: entries behind it are live.
    pub(super) fn on_baseline(&mut self, changes: Changes<'static>) -> Directive {
        for item in &changes.items {
            self.cursors.begin(item.conversation, item.last_seq);
        }
        let (more, token) = (changes.more, changes.sync.clone());
        if !self.outlet.offer(Event::Changes(changes)) {
            self.starved = true;
            self.missed_changes = true;
            return Directive::Nothing;
        }
        if more {
            self.ask_changes(Some(token), Purpose::Baseline);
            return Directive::Nothing;
        }
        self.sync = Some(token);
        Directive::Ready
    }

    /// Changes as they happen, or, first thing on a resumed connection and each time over polls, those that were missed: they
    /// carry tails, because no entries come besides.
    pub(super) fn on_changes(&mut self, changes: Changes<'static>) -> Directive {
        let has_tails = changes.items.iter().any(|item| item.tail.is_some());
        if std::mem::take(&mut self.resuming) || has_tails {
            return self.on_missed(changes);
        }
        for item in &changes.items {
            self.cursors.begin(item.conversation, start_of(item));
        }
        for conversation in &changes.removed {
            self.cursors.remove(*conversation);
        }
        let token = changes.sync.clone();
        // While a baseline is under way, the token is not yet one of all there is.
        let whole = self.sync.is_some() && !self.missed_changes;
        if !self.outlet.offer(Event::Changes(changes)) {
            self.starved = true;
            self.missed_changes = self.sync.is_some();
        } else if whole {
            self.sync = Some(token);
        }
        Directive::Nothing
    }

    /// What differs since the token: the items go out as they are, their entries by tails and, where those do not reach, by pages.
    pub(super) fn on_missed(&mut self, mut changes: Changes<'static>) -> Directive {
        let tails: Vec<_> = changes.items.iter_mut().map(|item| item.tail.take()).collect();
        let missed: Vec<_> =
            changes.items.iter().map(|item| (item.conversation, start_of(item), item.last_seq)).collect();
        for conversation in &changes.removed {
            self.cursors.remove(*conversation);
        }
        let (more, full, token) = (changes.more, changes.full, changes.sync.clone());
        if !self.outlet.offer(Event::Changes(changes)) {
            self.starved = true;
            self.missed_changes = true;
            return Directive::Nothing;
        }
        for ((conversation, start, last_seq), tail) in missed.into_iter().zip(tails) {
            if full && self.cursors.at(conversation).is_some_and(|at| at > last_seq) {
                self.cursors.rewind(conversation, last_seq);
            }
            self.cursors.begin(conversation, start);
            let at = self.cursors.at(conversation).unwrap_or_default();
            let tail = tail.unwrap_or_default();
            if tail.first().is_some_and(|first| first.seq <= at.next()) {
                for entry in tail.into_iter().filter(|entry| entry.seq > at) {
                    self.arrive(live(conversation, entry));
                }
            }
            self.cursors.want(conversation, last_seq);
        }
        self.sync = Some(token.clone());
        self.missed_changes = false;
        if more {
            self.ask_changes(Some(token), Purpose::Changes);
            return Directive::Nothing;
        }
        Directive::Ready
    }

    pub(super) fn ask_for_what_is_missing(&mut self) {
        if self.starved || !self.outlet.is_open() {
            return;
        }
        if self.missed_changes && !self.asked.changes {
            self.missed_changes = false;
            let purpose = if self.sync.is_some() { Purpose::Changes } else { Purpose::Baseline };
            self.ask_changes(self.sync.clone(), purpose);
        }
        if self.cursors.is_behind() && !self.asked.gaps {
            self.asked.gaps = true;
            let fetch = client::Fetch { ranges: Some(self.cursors.ranges(GAP_RANGES)), ..client::Fetch::default() };
            self.outbox.push(Command::Fetch(fetch), Waiter::Session(Purpose::Gaps));
        }
    }

    pub(super) fn ask_changes(&mut self, sync: Option<String>, purpose: Purpose) {
        self.asked.changes = true;
        let tail = (purpose == Purpose::Changes).then_some(RESUME_TAIL);
        self.outbox.push(Command::Sync(client::Sync { sync, tail }), Waiter::Session(purpose));
    }

    pub(super) fn on_gaps(&mut self, entries: Entries<'static>) {
        for answer in entries.ranges.unwrap_or_default() {
            match answer {
                RangeAnswer::Page(page) => {
                    let (outlet, starved) = (&self.outlet, &mut self.starved);
                    self.cursors.fill(page, &mut |entry| {
                        let room = outlet.offer(Event::Entry(entry));
                        *starved |= !room;
                        room
                    });
                }
                RangeAnswer::Refused { code, .. } if is_transient(code) => {}
                RangeAnswer::Refused { conversation, .. } => self.cursors.remove(conversation),
            }
        }
    }
}
