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

impl Import {
    /// The conversation that it goes into.
    pub fn conversation(&self) -> ConversationId {
        ConversationId::group(&importer(), &self.name)
    }
}

impl Host {
    /// Imports a part into a conversation of this node, of people of whichever. Durable when this returns; doing it again changes
    /// nothing.
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
        self.make_known(import).await?;
        let conversation = self.opened_conversation(import.conversation()).await?;
        let bytes: usize = import.messages.iter().map(|message| 128 + message.text.len()).sum();
        let permit = self.reserve(bytes + import.users.len() * 128).await?;
        let mut read = HashMap::default();
        loop {
            let missing = {
                let mut inner = conversation.lock();
                // Held until what is decided has been submitted.
                let entered = self.shards.enter_in(conversation.id.shard(), conversation.epoch);
                let _entered = entered.ok_or(ActError::Elsewhere)?;
                match decide(&inner, import, &read) {
                    Ok((imported, repeats)) => {
                        let mut parts = SmallVec::new();
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

    /// Whom the import names is known, durably, when this returns.
    async fn make_known(&self, import: &Import) -> Result<(), ActError> {
        let named: HashMap<&UserId, &str> = import.users.iter().map(|(user, name)| (user, &**name)).collect();
        let users: HashSet<&UserId> = people(import).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let at_ms = self.clock.unix_ms();
        let rows = self.home_rows_anywhere(&users).await?;
        let unknown = users.into_iter().zip(rows).filter(|(_, row)| !row.is_known()).map(|(user, _)| {
            let name = named.get(&user).map(|name| Box::from(*name));
            HomeEvent { user, change: HomeChange::Known { at_ms, name } }
        });
        self.change_all_anywhere(unknown.collect()).await
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
        self.try_resolve(names).await.map_err(|error| self.answer(error))
    }

    /// A home keeps the first name that it is given: who gives one looks whose it is now, and goes on to the next id if it is another's.
    async fn try_resolve(&self, names: &[String]) -> Result<Vec<UserId>, ActError> {
        let at_ms = self.clock.unix_ms();
        let mut users: HashMap<&str, UserId> = HashMap::default();
        let mut seen = HashSet::default();
        let distinct = names.iter().map(String::as_str).filter(|name| seen.insert(*name));
        let mut open: Vec<(&str, usize)> = distinct.map(|name| (name, 1)).collect();
        while !open.is_empty() {
            let ids: Vec<UserId> = open.iter().map(|(name, attempt)| user_id(name, *attempt)).collect();
            let rows = self.home_rows_anywhere(&ids).await?;
            let (mut given, mut gives, mut still) = (HashSet::default(), Vec::new(), Vec::new());
            for ((name, attempt), (user, row)) in open.into_iter().zip(ids.into_iter().zip(rows)) {
                match row.imported_as {
                    Some(other) if *other == *name => drop(users.insert(name, user)),
                    Some(_) => still.push((name, attempt + 1)),
                    None => {
                        // The first of those who would like to have it.
                        if given.insert(user.clone()) {
                            let change = HomeChange::Known { at_ms, name: Some(name.into()) };
                            gives.push(HomeEvent { user, change });
                        }
                        still.push((name, attempt));
                    }
                }
            }
            self.change_all_anywhere(gives).await?;
            open = still;
        }
        Ok(names.iter().map(|name| users[name.as_str()].clone()).collect())
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
                // What is in memory is newer, and was looked at; so was the first one, wherever it is.
                if row.is_group_named(name) && id != imported && self.conversations.get(&id).is_none() {
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
