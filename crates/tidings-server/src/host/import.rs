//! Bringing in a past from elsewhere, and giving a log out again: what operators do.
//!
//! An import is one event of its conversation, so it is there whole or not at all; and no frame, no push and no rate belongs to it.

use std::sync::Arc;

use smallvec::SmallVec;
use tidings_proto::{Code, ConversationId, Seq, UserId};

use crate::{
    conversation::{
        actor::Inner,
        decide::Refusal,
        entry::{Body, Entry, Message, Role},
        event::{Change, Created, History, Kind},
        state::State,
    },
    home::event::{HomeChange, HomeEvent},
    maps::{HashMap, HashSet},
    session::{
        auth::username,
        reply::{Answer, Reply},
    },
    tables::{Key, LogRange, Prefix, TablesError},
};

use super::{
    Host,
    act::ActError,
    event::Part,
    load::decode,
    peers::wire::{self, Said},
    read::{Ask, PageOf, cut},
    row::ConversationRow,
};

/// Under whose name the groups of imports are made: so the group's name alone gives its id.
const IMPORTER: &str = "import";
/// Entries and rows that are read at once.
const READ_AT_ONCE: u64 = 1_024;
/// A user id of percent-encoded bytes that would be longer is cut, and ends in a hash.
const ENCODED_BYTES: usize = 100;

/// A part of a conversation's past, in order.
#[derive(Debug)]
pub struct Import {
    /// The group's name: it is found by it, or made.
    pub name: Box<str>,
    /// Of a group that is made.
    pub owner: Option<UserId>,
    /// Display names of those who belong to it. Who sent something belongs to it, too.
    pub users: Vec<(UserId, Box<str>)>,
    pub messages: Vec<ImportedMessage>,
}

#[derive(Debug)]
pub struct ImportedMessage {
    pub client_msg_id: Box<str>,
    pub from: UserId,
    pub at_ms: u64,
    pub text: Box<str>,
}

#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub conversation: ConversationId,
    pub imported: usize,
    /// Messages that were there already.
    pub repeats: usize,
    pub last_seq: Seq,
}

/// What has to be read before an import can be decided.
enum Missing {
    Repeats,
    Entries(Vec<Seq>),
}

impl Host {
    /// Imports a part. Durable when this returns; doing it again changes nothing.
    pub async fn import(&self, import: &Import) -> Result<Outcome, Answer> {
        let (outcome, answer) = self.try_import(import).await.map_err(|error| self.answer(error))?;
        let Some(answer) = answer else { return Ok(outcome) };
        match answer.await.unwrap_or_else(|_| Answer::unavailable()) {
            Answer::Done => Ok(outcome),
            refused => Err(refused),
        }
    }

    async fn try_import(
        &self,
        import: &Import,
    ) -> Result<(Outcome, Option<tokio::sync::oneshot::Receiver<Answer>>), ActError> {
        let conversation = self.conversation(ConversationId::group(&importer(), &import.name)).await?;
        let mut parts = self.making_known(import).await?;
        let bytes: usize = import.messages.iter().map(|message| 128 + message.text.len()).sum();
        let permit = self.reserve(bytes + import.users.len() * 128).await?;
        let mut read = HashMap::default();
        loop {
            let missing = {
                let mut inner = conversation.lock();
                match decide(&inner, import, &read) {
                    Ok((imported, repeats)) => {
                        let changes = changes(&inner, import, imported, self.rules.limits.group_members)?;
                        let count = changes.iter().map(|change| change.entries().len()).sum();
                        for change in changes {
                            let event = inner.take_decided(conversation.id, change);
                            parts.push(Part::Conversation(conversation.clone(), event));
                        }
                        let last_seq = inner.decided().last_seq;
                        let outcome = Outcome { conversation: conversation.id, imported: count, repeats, last_seq };
                        if parts.is_empty() && !inner.is_ahead() {
                            return Ok((outcome, None));
                        }
                        let (reply, answer) = Reply::to_call();
                        self.submit(parts, Some((reply, Answer::Done)), Some(permit));
                        return Ok((outcome, Some(answer)));
                    }
                    Err(missing) => missing,
                }
            };
            match missing {
                Missing::Repeats => self.load_repeats(&conversation).await?,
                Missing::Entries(seqs) => self.read_entries(conversation.id, seqs, &mut read).await?,
            }
        }
    }

    async fn making_known(&self, import: &Import) -> Result<SmallVec<[Part; 2]>, ActError> {
        let named: HashMap<&UserId, &str> = import.users.iter().map(|(user, name)| (user, &**name)).collect();
        let users: HashSet<&UserId> = people(import).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let at_ms = self.clock.unix_ms();
        let unknown = self.unknown_among(&users).await?.into_iter();
        let known = unknown.map(|user| {
            let name = named.get(&user).map(|name| Box::from(*name));
            Part::Home(HomeEvent { user, change: HomeChange::Known { at_ms, name } })
        });
        Ok(known.collect())
    }

    async fn read_entries(
        &self,
        id: ConversationId,
        mut seqs: Vec<Seq>,
        read: &mut HashMap<Seq, Arc<Entry>>,
    ) -> Result<(), TablesError> {
        seqs.sort_unstable();
        let mut rest = seqs.as_slice();
        while let Some(first) = rest.first() {
            // A repeated import asks for many that stand side by side.
            let count = rest.partition_point(|seq| seq.0 < first.0 + READ_AT_ONCE);
            let span = usize::try_from(rest[count - 1].0 - first.0 + 1).expect("a span is short");
            let entries = self.tables.log(id, LogRange::After(first.previous()), span).await?;
            read.extend(entries.into_iter().map(|entry| (entry.seq, Arc::new(entry))));
            if let Some(seq) = rest[..count].iter().find(|seq| !read.contains_key(*seq)) {
                let (place, what) = (format!("the log of conversation {id}"), format!("entry {seq} is not there"));
                return Err(TablesError::Damaged { place, what });
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// The user ids of names, each in its place: the same ones for ever. Their users are known, durably, when this returns.
    pub async fn resolve(&self, names: &[String]) -> Result<Vec<UserId>, Answer> {
        let _naming = self.naming.lock().await;
        let mut taken: HashMap<UserId, Option<Box<str>>> = HashMap::default();
        let mut parts = SmallVec::new();
        let mut users = Vec::with_capacity(names.len());
        let first: HashSet<UserId> = names.iter().map(|name| user_id(name, 1)).collect();
        self.read_names(first.into_iter().collect(), &mut taken).await?;
        for name in names {
            let mut attempt = 1;
            let user = loop {
                let user = user_id(name, attempt);
                if !taken.contains_key(&user) {
                    self.read_names(vec![user.clone()], &mut taken).await?;
                }
                match &taken[&user] {
                    Some(other) if **other != **name => attempt += 1,
                    Some(_) => break user,
                    None => {
                        let known = HomeChange::Known { at_ms: self.clock.unix_ms(), name: Some(name.as_str().into()) };
                        parts.push(Part::Home(HomeEvent { user: user.clone(), change: known }));
                        taken.insert(user.clone(), Some(name.as_str().into()));
                        break user;
                    }
                }
            };
            users.push(user);
        }
        if parts.is_empty() {
            return Ok(users);
        }
        let (reply, answer) = Reply::to_call();
        self.commit(parts, reply).await;
        match answer.await.unwrap_or_else(|_| Answer::unavailable()) {
            Answer::Done => Ok(users),
            refused => Err(refused),
        }
    }

    async fn read_names(
        &self,
        users: Vec<UserId>,
        names: &mut HashMap<UserId, Option<Box<str>>>,
    ) -> Result<(), Answer> {
        let rows = self.home_rows(&users).await.map_err(|error| self.answer(error.into()))?;
        names.extend(users.into_iter().zip(rows.into_iter().map(|row| row.imported_as)));
        Ok(())
    }

    /// Groups of this name, that of an import first; up to `limit`. It looks at all conversations.
    pub async fn groups_named(&self, name: &str, limit: usize) -> Result<Vec<ConversationId>, ActError> {
        let mut found = Vec::new();
        let imported = ConversationId::group(&importer(), name);
        let is_named = |state: &State| state.kind() == Some(Kind::Group) && *state.name == *name;
        if is_named(&self.state_for(imported, &importer(), None, 0).await?.state) {
            found.push(imported);
        }
        self.conversations.for_each(|conversation| {
            if conversation.id != imported && is_named(&conversation.state()) {
                found.push(conversation.id);
            }
        });
        let mut after = None;
        while found.len() < limit {
            let rows = self.tables.rows(Prefix::Conversations, after, READ_AT_ONCE as usize).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (key, stored) in rows {
                let Key::Conversation(id) = key else { continue };
                let row: ConversationRow = decode(&stored.value, || format!("the row of conversation {id}"))?;
                // What is in memory is newer, and was looked at.
                if row.is_group_named(name) && self.conversations.get(&id).is_none() {
                    found.push(id);
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// A page of a log, with the names by which its people were imported or are shown; whichever nodes have them.
    pub async fn export(&self, id: ConversationId, after: Seq, limit: usize) -> Result<Export, ActError> {
        let PageOf { entries, last_seq, .. } = self.whole_log(id, after, limit).await?;
        let people: HashSet<&UserId> = entries.iter().map(|entry| &entry.from).collect();
        let people: Vec<UserId> = people.into_iter().cloned().collect();
        let rows = self.home_rows_anywhere(&people).await?;
        let names =
            people.into_iter().zip(rows).filter_map(|(user, row)| Some((user, row.imported_as.or(row.profile.name)?)));
        Ok(Export { names: names.collect(), entries, last_seq })
    }

    async fn whole_log(&self, id: ConversationId, after: Seq, limit: usize) -> Result<PageOf, ActError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.ask_host(id.shard(), wire::Ask::Log { conversation: id, after, limit }).await? {
            Said::Page(page) => Ok(page),
            said => Err(said.misplaced()),
        }
    }

    pub(super) async fn log_here(&self, id: ConversationId, after: Seq, limit: usize) -> Result<PageOf, ActError> {
        let conversation = self.conversation(id).await?;
        let last_seq = conversation.state().last_seq;
        if conversation.state().created.is_none() {
            return Err(Refusal::new(Code::UnknownConversation, "there is no such conversation").into());
        }
        let ask = Ask { first_visible: Seq::FIRST, range: LogRange::After(after), limit };
        let mut entries = self.entries(&conversation, ask).await?;
        let is_cut = cut(&mut entries, true);
        Ok(PageOf { entries, first_seq: Seq::FIRST.min(last_seq), last_seq, is_cut })
    }
}

/// A page of a log, ascending, as operators see it: also what nobody but its sender sees.
#[derive(Debug)]
pub struct Export {
    pub entries: Vec<Arc<Entry>>,
    pub names: HashMap<UserId, Box<str>>,
    pub last_seq: Seq,
}

fn importer() -> UserId {
    UserId::new(IMPORTER).expect("six letters are a name")
}

fn people(import: &Import) -> impl Iterator<Item = &UserId> {
    let senders = import.messages.iter().map(|message| &message.from);
    import.users.iter().map(|(user, _)| user).chain(senders).chain(&import.owner)
}

/// Which messages are new, in order, and how many are not.
fn decide<'a>(
    inner: &Inner,
    import: &'a Import,
    read: &HashMap<Seq, Arc<Entry>>,
) -> Result<(Vec<&'a ImportedMessage>, usize), Missing> {
    let (mut new, mut missing) = (Vec::new(), Vec::new());
    let mut here = HashSet::default();
    for message in &import.messages {
        let seqs = inner.may_repeat(&message.from, &message.client_msg_id).ok_or(Missing::Repeats)?;
        let is_it = |entry: &Arc<Entry>| {
            entry.from == message.from && entry.client_msg_id.as_ref() == Some(&message.client_msg_id)
        };
        let mut is_repeat = !here.insert((&message.from, &message.client_msg_id));
        for seq in seqs {
            match inner.in_memory(seq).or_else(|| read.get(&seq)) {
                Some(entry) => is_repeat |= is_it(entry),
                None => missing.push(seq),
            }
        }
        if !is_repeat {
            new.push(message);
        }
    }
    if missing.is_empty() {
        let repeats = import.messages.len() - new.len();
        Ok((new, repeats))
    } else {
        Err(Missing::Entries(missing))
    }
}

/// The changes that bring `messages` and those whom the import names.
fn changes(
    inner: &Inner,
    import: &Import,
    messages: Vec<&ImportedMessage>,
    group_members: usize,
) -> Result<Vec<Change>, Refusal> {
    let state = inner.decided();
    let mut changes = Vec::new();
    if state.created.is_none() {
        changes.push(Change::Created(Created {
            kind: Kind::Group,
            name: import.name.clone(),
            history: History::All,
            members: import.owner.iter().map(|owner| (owner.clone(), Role::Owner)).collect(),
            at_ms: import.messages.first().map_or(0, |message| message.at_ms),
            profiles: Vec::new(),
        }));
    }
    let owner = import.owner.as_ref().filter(|_| state.created.is_none());
    let mut joined: HashSet<&UserId> = owner.into_iter().collect();
    let mut members = Vec::new();
    for user in people(import) {
        if state.members.get(user).is_none() && joined.insert(user) {
            members.push(user.clone());
        }
    }
    if state.members.len() + joined.len() > group_members {
        return Err(Refusal::new(Code::LimitReached, format!("a group holds at most {group_members} members")));
    }
    if members.is_empty() && messages.is_empty() {
        return Ok(changes);
    }
    let (mut seq, mut ord) = (state.last_seq, state.last_ord);
    let entries = messages.into_iter().map(|message| {
        (seq, ord) = (seq.next(), ord + 1);
        Arc::new(Entry {
            seq,
            at_ms: message.at_ms,
            from: message.from.clone(),
            ord,
            client_msg_id: Some(message.client_msg_id.clone()),
            body: Body::Message(Message { text: message.text.clone(), ..Message::default() }),
            void: false,
            fold: None,
        })
    });
    changes.push(Change::Imported { members, entries: entries.collect() });
    Ok(changes)
}

/// The id that a name would like to have: the name as a username, else its bytes percent-encoded (RFC 3986 section 2.1). From the
/// second attempt on with a number.
fn user_id(name: &str, attempt: usize) -> UserId {
    let ending = if attempt > 1 { format!("~{attempt}") } else { String::new() };
    let plain =
        username(name).ok().filter(|user| user.as_str().len() + ending.len() <= tidings_proto::limits::USER_BYTES);
    let stem = plain.map_or_else(|| encoded(name), |user| user.as_str().to_owned());
    UserId::new(&(stem + &ending)).expect("letters and digits of a bounded length are a name")
}

fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    if text.len() > ENCODED_BYTES {
        text.truncate(ENCODED_BYTES);
        text.push('~');
        text.push_str(&blake3::hash(name.as_bytes()).to_hex()[..16]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_usernames_where_they_can() {
        let id = |name: &str, attempt| user_id(name, attempt).as_str().to_owned();
        assert_eq!(id("Ada", 1), "ada");
        assert_eq!(id("Ada", 3), "ada~3");
        assert_eq!(id("|trey|", 1), "|trey|");
        assert_eq!(id("a b", 1), "a%20b");
        assert_eq!(id("\u{1}", 1), "%01");
        let (one, other) = ("x y".repeat(60), "x y".repeat(60) + "z");
        assert_ne!(id(&one, 1), id(&other, 1));
        assert!(id(&one, 1_000_000).len() <= 128);
    }
}
