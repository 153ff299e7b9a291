//! Decides: is the sender a member, blocked, allowed to? `decide(state, action) -> events | refusal` is pure, and so is `apply`.
//!
//! Repeats are found before (`repeats`), users are known before (`home`), limits of size are checked before
//! (`tidings_proto::frames::check`): here is only what depends on the conversation's state.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{Code, Seq, UserId, limits::Limits};

use crate::{
    conversation::{
        entry::{Body, Entry, MembersChange, Message, Role},
        event::{Change, Created, Kind},
        state::State,
    },
    home::event::HomeChange,
};

/// How often one message may be edited: a redaction names all edits.
const EDITS_OF_AN_ENTRY: usize = 500;

/// What somebody wants to do, that makes an entry.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Action {
    #[n(0)]
    pub by: UserId,
    #[n(1)]
    pub at_ms: u64,
    #[n(2)]
    pub client_msg_id: Box<str>,
    #[n(3)]
    pub wish: Wish,
    /// A change of `by`'s home that is committed with the entry, or not at all.
    #[n(4)]
    pub with: Option<HomeChange>,
}

#[derive(Clone, Debug, Encode, Decode)]
pub enum Wish {
    #[n(0)]
    Send(#[n(0)] Message),
    /// Makes a group; its first entry names its members. (A direct conversation begins with its first message.)
    #[n(1)]
    Create(#[n(0)] Created),
    #[n(2)]
    Edit {
        #[n(0)]
        target: Seq,
        #[n(1)]
        text: Box<str>,
    },
    #[n(3)]
    Redact {
        #[n(0)]
        target: Seq,
    },
    #[n(4)]
    React {
        #[n(0)]
        target: Seq,
        #[n(1)]
        emoji: Box<str>,
        #[n(2)]
        on: bool,
    },
    #[n(5)]
    Members(#[n(0)] MembersChange),
    #[n(6)]
    Leave,
    #[n(7)]
    Rename {
        #[n(0)]
        name: Box<str>,
    },
}

impl Wish {
    /// The entry that must be at hand to decide about this.
    pub fn target(&self) -> Option<Seq> {
        match self {
            Self::Edit { target, .. } | Self::Redact { target } | Self::React { target, .. } => Some(*target),
            _ => None,
        }
    }
}

/// Rules that a deployment sets.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub limits: Limits,
    /// Refuse a blocked sender openly, in place of the void.
    pub notify_blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To be committed, in this order. Exactly one of them is an entry: the last.
    Events(Vec<Change>),
    /// It is so already: no entry is made.
    Nothing,
    Refused(Refusal),
}

/// Why not, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// To whom is no member, a conversation is the same as none.
    pub fn unknown_conversation() -> Self {
        Self::new(
            Code::UnknownConversation,
            "there is no such conversation among yours; GET /v1/conversations lists them",
        )
    }

    fn unknown_entry(seq: Seq) -> Self {
        Self::new(Code::UnknownEntry, format!("there is no message {seq} that you could see in this conversation"))
    }
}

/// Decides about `action`. `target` is the entry that `Wish::target` names, as decided by now; `None` if there is none.
pub fn decide(state: &State, action: &Action, target: Option<&Entry>, rules: &Rules) -> Decision {
    match try_decide(state, action, target, rules) {
        Ok(Some(changes)) => Decision::Events(changes),
        Ok(None) => Decision::Nothing,
        Err(refusal) => Decision::Refused(refusal),
    }
}

type Decided = Result<Option<Vec<Change>>, Refusal>;

fn try_decide(state: &State, action: &Action, target: Option<&Entry>, rules: &Rules) -> Decided {
    if let Wish::Create(created) = &action.wish {
        return create(state, action, created, rules);
    }
    let me = state.members.get(&action.by).ok_or_else(Refusal::unknown_conversation)?;
    let kind = state.kind().ok_or_else(Refusal::unknown_conversation)?;
    if kind == Kind::System {
        return Err(Refusal::new(Code::Forbidden, "this conversation carries notices; nobody writes into it"));
    }
    if rules.notify_blocked && state.is_blocked(&action.by) {
        return Err(Refusal::new(Code::Blocked, "this person has blocked you"));
    }
    let visible = |entry: &&Entry| {
        entry.seq >= state.first_seq(me)
            && !(entry.void && entry.from != action.by)
            && matches!(entry.body, Body::Message(_))
    };
    let target = target.filter(visible);
    match &action.wish {
        Wish::Create(_) => unreachable!("handled above"),
        Wish::Send(message) => send(state, action, me.role, kind, message),
        Wish::Edit { target: seq, text } => edit(state, action, *seq, target, text),
        Wish::Redact { target: seq } => redact(state, action, me.role, *seq, target),
        Wish::React { target: seq, emoji, on } => react(state, action, *seq, target, emoji, *on, rules),
        Wish::Members(change) => {
            group_only(kind)?;
            members(state, action, me.role, change, rules)
        }
        Wish::Leave => {
            group_only(kind)?;
            Ok(entry(state, action, Body::Members(leave(state, &action.by))))
        }
        Wish::Rename { name } => {
            group_only(kind)?;
            if *state.name == **name { Ok(None) } else { Ok(entry(state, action, Body::Rename { name: name.clone() })) }
        }
    }
}

/// The one entry of this action, with the next seq.
fn entry(state: &State, action: &Action, body: Body) -> Option<Vec<Change>> {
    Some(vec![make_entry(state, action, body, state.is_blocked(&action.by))])
}

/// The same, about an earlier entry: what changes a void one is as void, also when its sender is no longer blocked.
fn entry_about(target: &Entry, state: &State, action: &Action, body: Body) -> Option<Vec<Change>> {
    Some(vec![make_entry(state, action, body, state.is_blocked(&action.by) || target.void)])
}

fn make_entry(state: &State, action: &Action, body: Body, void: bool) -> Change {
    let counts = matches!(body, Body::Message(_)) && !void;
    Change::Entry(Arc::new(Entry {
        seq: state.last_seq.next(),
        // The clock may step back; what people read does not.
        at_ms: action.at_ms.max(state.last_at_ms),
        from: action.by.clone(),
        ord: state.last_ord + u64::from(counts),
        client_msg_id: Some(action.client_msg_id.clone()),
        body,
        void,
        fold: None,
    }))
}

fn create(state: &State, action: &Action, created: &Created, rules: &Rules) -> Decided {
    if state.created.is_some() {
        return Ok(None);
    }
    if created.members.len() > rules.limits.group_members {
        return Err(group_is_full(rules));
    }
    let mut after = state.clone();
    let added = created.members.clone();
    let begin = Change::Created(Created { members: Vec::new(), ..created.clone() });
    after.apply(state.version + 1, &begin);
    let first = make_entry(&after, action, Body::Members(MembersChange { added, ..MembersChange::default() }), false);
    Ok(Some(vec![begin, first]))
}

fn send(state: &State, action: &Action, role: Role, kind: Kind, message: &Message) -> Decided {
    let to_all = message.mentions.iter().any(|name| &**name == "@all");
    if to_all && (kind != Kind::Group || role < Role::Admin) {
        return Err(Refusal::new(Code::Forbidden, "mentions: only a group's admins may mention @all"));
    }
    if let Some(seq) = message.reply_to.filter(|seq| *seq > state.last_seq || *seq == Seq::NONE) {
        let why = format!("reply_to: there is no entry {seq} in this conversation");
        return Err(Refusal::new(Code::UnknownEntry, why));
    }
    Ok(entry(state, action, Body::Message(message.clone())))
}

fn edit(state: &State, action: &Action, seq: Seq, target: Option<&Entry>, text: &str) -> Decided {
    let target = target.ok_or_else(|| Refusal::unknown_entry(seq))?;
    let Body::Message(message) = &target.body else { return Err(Refusal::unknown_entry(seq)) };
    if target.from != action.by {
        return Err(Refusal::new(Code::Forbidden, "only its sender may edit a message"));
    }
    if is_redacted(target) {
        return Err(Refusal::new(Code::UnknownEntry, format!("message {seq} was deleted")));
    }
    if text.is_empty() && message.attachments.is_empty() {
        return Err(Refusal::new(Code::BadRequest, "text: it must not be empty; use redact to delete the message"));
    }
    if *message.text == *text {
        return Ok(None);
    }
    if target.fold.as_ref().is_some_and(|fold| fold.edits.len() >= EDITS_OF_AN_ENTRY) {
        return Err(Refusal::new(Code::LimitReached, format!("a message is edited at most {EDITS_OF_AN_ENTRY} times")));
    }
    Ok(entry_about(target, state, action, Body::Edit { target: seq, text: text.into() }))
}

fn redact(state: &State, action: &Action, role: Role, seq: Seq, target: Option<&Entry>) -> Decided {
    let target = target.ok_or_else(|| Refusal::unknown_entry(seq))?;
    if target.from != action.by && role < Role::Admin {
        return Err(Refusal::new(Code::Forbidden, "only its sender or an admin may delete a message"));
    }
    if is_redacted(target) {
        return Ok(None);
    }
    let edits = target.fold.as_ref().map(|fold| fold.edits.clone()).unwrap_or_default();
    Ok(entry_about(target, state, action, Body::Redaction { target: seq, edits }))
}

fn react(
    state: &State,
    action: &Action,
    seq: Seq,
    target: Option<&Entry>,
    emoji: &str,
    on: bool,
    rules: &Rules,
) -> Decided {
    let target = target.ok_or_else(|| Refusal::unknown_entry(seq))?;
    if is_redacted(target) {
        return Err(Refusal::new(Code::UnknownEntry, format!("message {seq} was deleted")));
    }
    let reactions = target.fold.as_ref().map_or(&[][..], |fold| &fold.reactions);
    let mine = reactions.iter().any(|reaction| *reaction.emoji == *emoji && reaction.users.contains(&action.by));
    if mine == on {
        return Ok(None);
    }
    let count: usize = reactions.iter().map(|reaction| reaction.users.len()).sum();
    if on && count >= rules.limits.reactions_an_entry {
        let message = format!("a message holds at most {} reactions", rules.limits.reactions_an_entry);
        return Err(Refusal::new(Code::LimitReached, message));
    }
    Ok(entry_about(target, state, action, Body::Reaction { target: seq, emoji: emoji.into(), on }))
}

fn is_redacted(entry: &Entry) -> bool {
    entry.fold.as_ref().is_some_and(|fold| fold.redacted.is_some())
}

fn group_only(kind: Kind) -> Result<(), Refusal> {
    if kind == Kind::Group {
        return Ok(());
    }
    Err(Refusal::new(Code::Forbidden, "only groups have a name and members that change"))
}

fn group_is_full(rules: &Rules) -> Refusal {
    Refusal::new(Code::LimitReached, format!("a group holds at most {} members", rules.limits.group_members))
}

fn members(state: &State, action: &Action, my_role: Role, change: &MembersChange, rules: &Rules) -> Decided {
    let is_me_only =
        change.added.is_empty() && change.roles.is_empty() && change.removed.iter().all(|user| *user == action.by);
    if is_me_only {
        return Ok(entry(state, action, Body::Members(leave(state, &action.by))));
    }
    if my_role < Role::Admin {
        return Err(Refusal::new(Code::Forbidden, "only admins add and remove members; anybody may leave"));
    }
    if !change.roles.is_empty() && my_role < Role::Owner {
        return Err(Refusal::new(Code::Forbidden, "roles: only owners set roles"));
    }
    let mut effect = MembersChange::default();
    for (user, role) in &change.added {
        let role = change.roles.iter().find(|(other, _)| other == user).map_or(*role, |(_, role)| *role);
        if state.members.get(user).is_none() && !effect.added.iter().any(|(added, _)| added == user) {
            effect.added.push((user.clone(), role));
        }
    }
    for user in &change.removed {
        let Some(member) = state.members.get(user) else { continue };
        if member.role == Role::Owner && my_role < Role::Owner {
            return Err(Refusal::new(
                Code::Forbidden,
                format!("remove: {user} is an owner; only owners remove owners"),
            ));
        }
        if change.added.iter().any(|(added, _)| added == user) {
            return Err(Refusal::new(Code::BadRequest, format!("remove: {user} stands in add, too")));
        }
        if !effect.removed.contains(user) {
            effect.removed.push(user.clone());
        }
    }
    for (user, role) in &change.roles {
        let gone = effect.removed.contains(user);
        if let Some(member) = state.members.get(user).filter(|member| !gone && member.role != *role) {
            debug_assert_ne!(member.role, *role);
            effect.roles.push((user.clone(), *role));
        }
    }
    if state.members.len() + effect.added.len() > rules.limits.group_members {
        return Err(group_is_full(rules));
    }
    hand_over_if_ownerless(state, &mut effect);
    if effect == MembersChange::default() { Ok(None) } else { Ok(entry(state, action, Body::Members(effect))) }
}

fn leave(state: &State, user: &UserId) -> MembersChange {
    let mut change = MembersChange { removed: vec![user.clone()], ..MembersChange::default() };
    hand_over_if_ownerless(state, &mut change);
    change
}

/// A group without an owner would be stuck: the oldest admin becomes one, else the oldest member.
fn hand_over_if_ownerless(state: &State, change: &mut MembersChange) {
    // Nobody stops being an owner: nothing to look for, which matters for a group of 100,000.
    if change.removed.is_empty() && change.roles.is_empty() {
        return;
    }
    let role_after = |user: &UserId, role: Role| {
        change.roles.iter().find(|(other, _)| other == user).map_or(role, |(_, role)| *role)
    };
    let staying = || state.members.iter().filter(|(user, _)| !change.removed.contains(user));
    let stays_owned = staying().any(|(user, member)| role_after(user, member.role) == Role::Owner)
        || change.added.iter().any(|(_, role)| *role == Role::Owner);
    if stays_owned {
        return;
    }
    let heir = staying()
        .max_by_key(|(user, member)| (role_after(user, member.role), std::cmp::Reverse((member.joined, *user))))
        .map(|(user, _)| user.clone());
    if let Some(heir) = heir {
        change.roles.retain(|(user, _)| *user != heir);
        change.roles.push((heir, Role::Owner));
    }
}
