//! The messages of one conversation that are here: pages of history and live entries, folded to now, and what is being sent.

use std::collections::BTreeMap;

use tidings_client::{Seq, UserId};
use tidings_proto::frames::server::{EntriesPage, Entry, Kind, More, Reaction, Redacted};

#[derive(Debug, Default)]
pub struct Log {
    /// Those that are shown: messages, changes of members and names.
    entries: BTreeMap<Seq, Shown>,
    /// The beginning of what this user may see; `None` until a page said it.
    first_seq: Option<Seq>,
    /// The lowest seq of any page, shown or not.
    reached: Seq,
    pub is_loading: bool,
    pub pending: Vec<Pending>,
}

#[derive(Debug)]
struct Shown {
    entry: Entry<'static>,
    /// Later entries up to this one are folded in.
    as_of: Seq,
}

/// A message that is not saved yet.
#[derive(Debug)]
pub struct Pending {
    pub client_msg_id: String,
    pub text: String,
    pub failed: Option<String>,
}

impl Log {
    /// A page of history, folded by the server up to its `last_seq`.
    pub fn add_page(&mut self, page: EntriesPage<'static>) {
        self.is_loading = false;
        self.first_seq = Some(page.first_seq);
        if let Some(first) = page.entries.first() {
            self.reached = if self.reached == Seq::NONE { first.seq } else { self.reached.min(first.seq) };
        }
        if page.entries.is_empty() {
            self.reached = page.first_seq;
        }
        for entry in page.entries {
            let is_older = |shown: &Shown| shown.as_of <= page.last_seq;
            if is_shown(entry.kind) && self.entries.get(&entry.seq).is_none_or(is_older) {
                self.entries.insert(entry.seq, Shown { entry, as_of: page.last_seq });
            }
        }
    }

    /// A live entry, in order. Answers whether it is a new line of talk.
    pub fn add_live(&mut self, entry: &Entry<'static>, me: &UserId) -> bool {
        self.pending.retain(|pending| entry.client_msg_id.as_deref() != Some(&pending.client_msg_id));
        if is_shown(entry.kind) {
            let is_new = !self.entries.contains_key(&entry.seq);
            if is_new {
                self.entries.insert(entry.seq, Shown { entry: entry.clone(), as_of: entry.seq });
            }
            return is_new;
        }
        let target = entry.more.as_ref().and_then(|more| more.target);
        if let Some(shown) = target.and_then(|target| self.entries.get_mut(&target))
            && shown.as_of < entry.seq
        {
            shown.as_of = entry.seq;
            fold(&mut shown.entry, entry, me);
        }
        false
    }

    /// Takes back the newest message that was refused.
    pub fn take_failed(&mut self) -> Option<Pending> {
        let place = self.pending.iter().rposition(|pending| pending.failed.is_some())?;
        Some(self.pending.remove(place))
    }

    /// Whether anything was loaded.
    pub fn is_open(&self) -> bool {
        self.first_seq.is_some()
    }

    /// Where the next older page ends; `None` if all is here or on its way.
    pub fn older_than(&self) -> Option<Seq> {
        let first = self.first_seq?;
        (!self.is_loading && self.reached > first.max(Seq::FIRST)).then_some(self.reached)
    }

    /// Oldest first.
    pub fn shown(&self) -> impl DoubleEndedIterator<Item = &Entry<'static>> {
        self.entries.values().map(|shown| &shown.entry)
    }

    pub fn get(&self, seq: Seq) -> Option<&Entry<'static>> {
        self.entries.get(&seq).map(|shown| &shown.entry)
    }

    /// The next shown entry before `seq`, or behind it.
    pub fn neighbour(&self, seq: Seq, is_older: bool) -> Option<Seq> {
        if is_older {
            self.entries.range(..seq).next_back().map(|(seq, _)| *seq)
        } else {
            self.entries.range(seq.next()..).next().map(|(seq, _)| *seq)
        }
    }

    pub fn newest(&self) -> Option<Seq> {
        self.entries.keys().next_back().copied()
    }
}

fn is_shown(kind: Kind) -> bool {
    matches!(kind, Kind::Message | Kind::Tip | Kind::Members | Kind::Rename)
}

/// What `change` makes of `target`, as the server folds it (PROTOCOL, "Kinds").
pub fn fold(target: &mut Entry<'static>, change: &Entry<'static>, me: &UserId) {
    let more = target.more.get_or_insert_default();
    match change.kind {
        Kind::Edit if more.redacted.is_none() => {
            target.text.clone_from(&change.text);
            more.edited_seq = Some(change.seq);
        }
        Kind::Redaction => {
            target.text = None;
            let by = change.from.clone().unwrap_or_else(|| me.clone());
            **more = More {
                redacted: Some(Redacted { seq: change.seq, by, at: change.at.unwrap_or_default() }),
                ..More::default()
            };
        }
        Kind::Reaction => {
            let Some(change_more) = &change.more else { return };
            let Some(emoji) = &change_more.emoji else { return };
            react(&mut more.reactions, emoji, change_more.on == Some(true), change.from.as_ref() == Some(me));
        }
        _ => {}
    }
}

fn react(reactions: &mut Vec<Reaction>, emoji: &str, on: bool, mine: bool) {
    let place = reactions.iter().position(|reaction| reaction.emoji == emoji).unwrap_or_else(|| {
        reactions.push(Reaction { emoji: emoji.to_owned(), count: 0, mine: false });
        reactions.len() - 1
    });
    let reaction = &mut reactions[place];
    reaction.count = if on { reaction.count + 1 } else { reaction.count.saturating_sub(1) };
    if mine {
        reaction.mine = on;
    }
    reactions.retain(|reaction| reaction.count > 0);
}
