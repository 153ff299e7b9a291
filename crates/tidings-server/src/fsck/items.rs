//! Items of inboxes: each member has one that ends where the conversation ends, and nobody else has one.

use std::sync::Arc;

use tidings_proto::{ConversationId, Seq, UserId};

use super::{Fault, Fsck, ROWS, Report, is_member};
use crate::{
    conversation::{entry::Entry, event::Kind, fold, members::Member, state::State},
    home::{
        event::{Joined, Tell, Told},
        item::Item,
        state::{HomeRow, HomeState},
    },
    host::{
        load::{decode, load_state},
        row::encode,
    },
    tables::{Key, LogRange, Prefix, Row, TablesError, Version},
};

/// How far back the newest entry that an inbox may show is looked for.
const PREVIEW_WITHIN: usize = 200;

impl Fsck {
    /// The items of all members.
    pub(super) async fn members(
        &self,
        id: ConversationId,
        state: &State,
        report: &mut Report,
    ) -> Result<(), TablesError> {
        let members: Vec<_> = state.members.iter().map(|(user, member)| (user.clone(), *member)).collect();
        for members in members.chunks(ROWS) {
            let keys = members.iter().map(|(user, _)| Key::Inbox(user.clone(), id)).collect();
            for ((user, member), stored) in members.iter().zip(self.tables.get(keys).await?) {
                let item: Option<Item> = match &stored {
                    Some(stored) => Some(decode(&stored.value, || format!("the inbox row of {user} for {id}"))?),
                    None => None,
                };
                let fault = match item.as_ref().filter(|item| !item.gone) {
                    None => Fault::ItemMissing { user: user.clone(), conversation: id },
                    // Homes are not told of what is said in large ones: they ask.
                    Some(item) if item.is_large() || item.last_seq == state.last_seq => continue,
                    Some(item) => Fault::ItemWrong {
                        user: user.clone(),
                        conversation: id,
                        last_seq: item.last_seq,
                        must_be: state.last_seq,
                    },
                };
                report.faults.push(fault);
                if self.mends {
                    self.mend_item(id, state, (user, member), item).await?;
                    report.mended += 1;
                }
            }
        }
        Ok(())
    }

    /// Items of one inbox whose conversation does not have the user.
    pub(super) async fn strays(&self, user: &UserId, report: &mut Report) -> Result<(), TablesError> {
        let mut after = None;
        loop {
            let rows = self.tables.rows(Prefix::Inbox(user.clone()), after, ROWS).await?;
            after = rows.last().map(|(key, _)| key.clone());
            if after.is_none() {
                return Ok(());
            }
            for (key, stored) in rows {
                let Key::Inbox(_, id) = key else { continue };
                report.items += 1;
                let item: Item = decode(&stored.value, || format!("the inbox row of {user} for {id}"))?;
                if item.gone {
                    continue;
                }
                // Of a large conversation one row tells, and the others need not be read for each of its members.
                if self.tables.get(vec![Key::Member(id, user.clone())]).await?.pop().flatten().is_some() {
                    continue;
                }
                let state = load_state(&*self.tables, id).await?;
                if state.is_some_and(|(state, _)| is_member(&state, user)) {
                    continue;
                }
                report.faults.push(Fault::ItemStray { user: user.clone(), conversation: id });
                if self.mends {
                    let mut home = self.home(user).await?;
                    home.items.insert(id, Item { gone: true, ..item });
                    self.write_item(home, id).await?;
                    report.mended += 1;
                }
            }
        }
    }

    async fn home(&self, user: &UserId) -> Result<HomeState, TablesError> {
        let row = match self.tables.get(vec![Key::Home(user.clone())]).await?.pop().flatten() {
            Some(stored) => decode(&stored.value, || format!("the home row of {user}"))?,
            None => HomeRow::default(),
        };
        Ok(HomeState::new(user.clone(), (self.epoch)(user.shard()), row))
    }

    /// Makes an item what it must be; what only the user knows (muted, pinned, archived, what was read) is kept where it is known.
    async fn mend_item(
        &self,
        id: ConversationId,
        state: &State,
        (user, member): (&UserId, &Member),
        item: Option<Item>,
    ) -> Result<(), TablesError> {
        let mut home = self.home(user).await?;
        match item {
            Some(item) => drop(home.items.insert(id, Item { gone: false, ..item })),
            None => {
                let what = Told::Joined(Box::new(self.joined(id, state, (user, member)).await?));
                let _ = home.tell(&Tell { conversation: id, version: state.version, what });
                let ord = match self.entry_at(id, member.read).await? {
                    Some(entry) => entry.ord,
                    None => 0,
                };
                if let Some(item) = home.items.get_mut(&id) {
                    (item.first_seq, item.read_seq, item.read_ord) = (state.first_seq(member), member.read, ord);
                }
            }
        }
        let preview = self.preview(id, state, &home).await?;
        let Some(item) = home.items.get_mut(&id) else { return Ok(()) };
        (item.last_seq, item.last_ord, item.last_at_ms) = (state.last_seq, state.last_ord, state.last_at_ms);
        (item.told, item.preview) = (state.version, preview);
        if item.read_seq > item.last_seq {
            (item.read_seq, item.read_ord) = (item.last_seq, item.last_ord);
        }
        if let Some(group) = &mut item.group {
            group.name = state.name.as_ref().into();
            group.member_count = state.members.len() as u64;
            group.role = member.role;
            group.large = !state.members.is_small();
        }
        self.write_item(home, id).await
    }

    async fn joined(
        &self,
        id: ConversationId,
        state: &State,
        (user, member): (&UserId, &Member),
    ) -> Result<Joined, TablesError> {
        let kind = state.kind().unwrap_or(Kind::Group);
        let other = state.members.other_than(user).filter(|_| kind == Kind::Direct).cloned();
        let with = match other.or_else(|| (kind == Kind::Direct).then(|| user.clone())) {
            Some(other) => Some((other.clone(), self.home(&other).await?.row.profile)),
            None => None,
        };
        tracing::debug!(conversation = %id, %user, "an item is made again");
        Ok(Joined {
            kind,
            with,
            name: state.name.clone(),
            member_count: state.members.len() as u64,
            role: member.role,
            history: state.history(),
            large: !state.members.is_small(),
            entry: None,
            preview: None,
            last_seq: state.last_seq,
            last_ord: state.last_ord,
            at_ms: state.last_at_ms,
        })
    }

    async fn entry_at(&self, id: ConversationId, seq: Seq) -> Result<Option<Entry>, TablesError> {
        if seq == Seq::NONE {
            return Ok(None);
        }
        let found = self.tables.log(id, LogRange::After(seq.previous()), 1).await?.pop();
        Ok(found.filter(|entry| entry.seq == seq))
    }

    /// The newest entry that this user's inbox may show.
    async fn preview(
        &self,
        id: ConversationId,
        state: &State,
        home: &HomeState,
    ) -> Result<Option<Arc<Entry>>, TablesError> {
        let after = Seq(state.last_seq.0.saturating_sub(PREVIEW_WITHIN as u64));
        let entries = self.tables.log(id, LogRange::After(after), PREVIEW_WITHIN).await?;
        let may_show = |entry: &&Entry| {
            let is_mine = entry.from == home.user;
            fold::is_previewed(entry) && (is_mine || (!entry.void && !home.hides(id, &entry.from)))
        };
        let mut preview = None;
        if let Some(entry) = entries.iter().rev().find(may_show) {
            fold::preview(&mut preview, &Arc::new(entry.clone()));
        }
        Ok(preview)
    }

    /// Writes an item as the home's newest change: every device hears of it at its next sync.
    async fn write_item(&self, mut home: HomeState, id: ConversationId) -> Result<(), TablesError> {
        let _ = home.alter(id, |_| true);
        let Some(item) = home.items.get(&id) else { return Ok(()) };
        let user = home.user.clone();
        let rows = vec![
            Row { key: Key::Inbox(user.clone(), id), version: Version(item.row_version()), value: Some(encode(item)) },
            Row { key: Key::Home(user), version: Version(home.version()), value: Some(encode(&home.row)) },
        ];
        self.write(rows).await
    }
}
