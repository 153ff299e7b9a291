//! Carries a request out, whatever transport brought it: what acts goes to the host with a way back for its answer; what reads
//! answers with a frame.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        RequestId,
        client::{self, Command, Fetch, Page, Range, To},
        server::{Entries, EntriesPage, RangeAnswer, ServerFrame},
    },
    limits::ANSWER_BYTES,
};

use crate::{
    conversation::{
        decide::{Action, Wish},
        entry::{Entry, MembersChange, Message, Role},
        event::{Created, History},
        view::{self, Viewer},
    },
    home::{
        actor::Home,
        event::{Audience, HomeChange},
        inbox::{self, Cursor},
    },
    host::{Host, act::ActError, read::PageOf},
    metrics::Read,
};

use super::{
    inspect,
    rate::Rate,
    reply::{Answer, Reply},
};

/// Items of an inbox page, unless the client says.
const INBOX_LIMIT: usize = 100;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub device: DeviceId,
    pub home: Arc<Home>,
    /// When the token ends that the caller showed, in unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// Whether a command reads: its answer may be long, and it sees all that was asked before it.
pub fn is_read(command: &Command) -> bool {
    matches!(command, Command::Fetch(_) | Command::Inbox(_) | Command::Sync(_))
}

/// Whether a command counts for its user's rate of sends: all that makes entries.
pub fn is_rated(command: &Command) -> bool {
    match command {
        Command::Send(_)
        | Command::Create(_)
        | Command::Members(_)
        | Command::Leave(_)
        | Command::Rename(_)
        | Command::Edit(_)
        | Command::Redact(_)
        | Command::React(_)
        | Command::Block(_)
        | Command::Unblock(_)
        | Command::Profile(_)
        | Command::Device(_) => true,
        Command::Hello(_)
        | Command::Auth(_)
        | Command::Fetch(_)
        | Command::Inbox(_)
        | Command::Sync(_)
        | Command::MarkRead(_)
        | Command::Ack(_)
        | Command::Typing(_)
        | Command::Watch(_)
        | Command::Set(_)
        | Command::Ping(_)
        | Command::Pong(_) => false,
    }
}

/// Takes what a command costs, and tells for how long to wait before it. `Err`: too many wait already.
pub fn take_rates(host: &Host, caller: &Caller, command: &Command) -> Result<Duration, Answer> {
    let request = take_request(host, caller)?;
    if !is_rated(command) {
        return Ok(request);
    }
    Ok(request.max(take_send(host, caller)?))
}

/// Waits as long as a rate has it. `Err`: too many wait already.
pub async fn paced(taken: Result<Duration, Answer>) -> Result<(), Answer> {
    let wait = taken?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// Takes one of the device's requests.
pub fn take_request(host: &Host, caller: &Caller) -> Result<Duration, Answer> {
    let rates = &host.config.rates;
    let rate = Rate { per_s: rates.requests_per_s, burst: rates.requests_burst };
    let max_wait_ns = rates.slow_read_max_ms * 1_000_000;
    waited(caller.home.request_rates.take(&caller.device, rate, host.clock.monotonic_ns(), max_wait_ns))
}

/// Takes one of the user's sends.
pub fn take_send(host: &Host, caller: &Caller) -> Result<Duration, Answer> {
    let rates = &host.config.rates;
    let rate = Rate { per_s: rates.sends_per_s, burst: rates.sends_burst };
    let max_wait_ns = rates.slow_read_max_ms * 1_000_000;
    waited(caller.home.send_rate.take(rate, host.clock.monotonic_ns(), max_wait_ns))
}

fn waited(taken: Result<u64, u64>) -> Result<Duration, Answer> {
    taken.map(Duration::from_nanos).map_err(|wait_ns| Answer::rate_limited(wait_ns.div_ceil(1_000_000)))
}

/// Does what a command wants. Nothing here waits for the disk's commit: the answer comes when it is durable.
pub async fn act(host: &Host, caller: &Caller, command: Command, reply: Reply) {
    act_with(host, caller, command, None, reply).await;
}

/// The same, with a change of the caller's home that is committed with the entry, or not at all.
pub async fn act_with(host: &Host, caller: &Caller, command: Command, with: Option<HomeChange>, reply: Reply) {
    let user = &caller.user;
    let action = |client_msg_id: String, wish| Action {
        by: user.clone(),
        at_ms: host.clock.unix_ms(),
        client_msg_id: client_msg_id.into(),
        wish,
        with,
    };
    match command {
        Command::Send(send) => act_send(host, send, action, reply).await,
        // All else is rarer: its future takes room only while it is under way.
        command => Box::pin(act_else(host, caller, command, action, reply)).await,
    }
}

async fn act_else(
    host: &Host,
    caller: &Caller,
    command: Command,
    action: impl FnOnce(String, Wish) -> Action,
    reply: Reply,
) {
    let user = &caller.user;
    match command {
        Command::Create(create) => {
            let created = group(host, user, &create);
            host.create_group(action(create.client_msg_id, Wish::Create(created)), reply).await;
        }
        Command::Members(members) => {
            let (id, client_msg_id) = (members.conversation, members.client_msg_id.clone());
            host.act_in(id, action(client_msg_id, Wish::Members(members_change(members))), reply).await;
        }
        Command::Leave(leave) => host.act_in(leave.conversation, action(leave.client_msg_id, Wish::Leave), reply).await,
        Command::Rename(rename) => {
            let wish = Wish::Rename { name: rename.name.trim().into() };
            host.act_in(rename.conversation, action(rename.client_msg_id, wish), reply).await;
        }
        Command::Edit(edit) => {
            let wish = Wish::Edit { target: edit.seq, text: edit.text.into() };
            host.act_in(edit.conversation, action(edit.client_msg_id, wish), reply).await;
        }
        Command::Redact(redact) => {
            let wish = Wish::Redact { target: redact.seq };
            host.act_in(redact.conversation, action(redact.client_msg_id, wish), reply).await;
        }
        Command::React(react) => {
            let wish = Wish::React { target: react.seq, emoji: react.emoji.into(), on: react.on };
            host.act_in(react.conversation, action(react.client_msg_id, wish), reply).await;
        }
        Command::Block(block) if block.user == *user => {
            reply.answer(Answer::refused(Code::BadRequest, "user: you cannot block yourself"))
        }
        Command::Block(block) => host.block(user, &block.user, true, reply).await,
        Command::Unblock(unblock) => host.block(user, &unblock.user, false, reply).await,
        Command::MarkRead(read) => host.mark_read(user, read.conversation, read.seq, reply).await,
        Command::Ack(ack) => host.mark_delivered(user, ack.conversation, ack.seq, reply).await,
        Command::Set(set) => {
            let client::Set { conversation, muted, pinned, archived } = set;
            host.set(user, HomeChange::Set { conversation, muted, pinned, archived }, conversation, reply).await;
        }
        Command::Profile(profile) => host.change_profile(user, profile_change(profile), reply).await,
        Command::Device(device) => name_device(host, caller, device, reply).await,
        Command::Send(_)
        | Command::Hello(_)
        | Command::Auth(_)
        | Command::Fetch(_)
        | Command::Inbox(_)
        | Command::Sync(_)
        | Command::Typing(_)
        | Command::Watch(_)
        | Command::Ping(_)
        | Command::Pong(_) => {
            reply.answer(Answer::refused(Code::BadRequest, "type: this frame does not fit here"));
        }
    }
}

fn group(host: &Host, creator: &UserId, create: &client::Create) -> Created {
    let history = match create.history {
        client::History::All => History::All,
        client::History::Joined => History::Joined,
    };
    Host::group(creator, create.name.trim(), &create.members, history, host.clock.unix_ms())
}

fn members_change(members: client::Members) -> MembersChange {
    MembersChange {
        added: members.add.into_iter().map(|user| (user, Role::Member)).collect(),
        removed: members.remove,
        roles: members.roles.into_iter().map(|(user, role)| (user, view::role(role))).collect(),
    }
}

async fn name_device(host: &Host, caller: &Caller, named: client::Device, reply: Reply) {
    let client::Device { device, name, platform } = named;
    let device = device.unwrap_or_else(|| caller.device.clone());
    let shown = match inspect::device(caller, &device) {
        Ok(shown) => shown,
        Err(refusal) => return reply.answer(refusal),
    };
    let is_same = |now: &Option<String>, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| now.as_deref().unwrap_or_default() == wanted)
    };
    // Clients say it each time they connect.
    if is_same(&shown.name, &name) && is_same(&shown.platform, &platform) {
        return reply.answer(Answer::Done);
    }
    let change = HomeChange::DeviceNamed { device, name: name.map(Into::into), platform: platform.map(Into::into) };
    host.change_home(&caller.user, change, reply).await;
}

fn profile_change(profile: client::Profile) -> HomeChange {
    let audience = profile.presence.map(|audience| match audience {
        client::PresenceAudience::Everyone => Audience::Everyone,
        client::PresenceAudience::Contacts => Audience::Contacts,
        client::PresenceAudience::Nobody => Audience::Nobody,
    });
    HomeChange::Profile { name: profile.name.map(Into::into), picture: profile.picture.map(Into::into), audience }
}

async fn act_send(host: &Host, send: client::Send, action: impl FnOnce(String, Wish) -> Action, reply: Reply) {
    let message = Message {
        text: send.text.into(),
        mentions: send.mentions.into_iter().map(Into::into).collect(),
        reply_to: send.reply_to,
        attachments: send.attachments.into_iter().map(Into::into).collect(),
        data: send.data.map(|data| data.get().into()),
    };
    let action = action(send.client_msg_id, Wish::Send(message));
    match send.to {
        To::User(user) => host.send_to_user(&user, action, reply).await,
        To::Conversation(id) => host.act_in(id, action, reply).await,
        To::List(_) => reply.answer(Answer::refused(Code::NotFound, "to.list: this server has no lists")),
    }
}

/// Reads, and answers with a frame. `Err` is the refusal.
pub async fn read(host: &Host, caller: &Caller, id: Option<RequestId>, command: Command) -> Result<String, Answer> {
    let began = Instant::now();
    let kind = match command {
        Command::Inbox(_) => Read::Inbox,
        Command::Sync(_) => Read::Sync,
        _ => Read::Fetch,
    };
    let answer = try_read(host, caller, id, command).await;
    host.metrics.reads.of(kind).observe(began.elapsed());
    answer.inspect_err(|refusal| refusal.count(&host.metrics))
}

async fn try_read(host: &Host, caller: &Caller, id: Option<RequestId>, command: Command) -> Result<String, Answer> {
    let refused = |error: ActError| host.answer(error);
    match command {
        Command::Fetch(Fetch { conversation: Some(conversation), page, .. }) => {
            let page = fetch(host, caller, conversation, page).await.map_err(refused)?;
            Ok(ServerFrame::Entries(Entries {
                re: id,
                page: Some(page.shown(caller)),
                ranges: None,
                more: page.page.is_cut,
            })
            .to_json())
        }
        Command::Fetch(Fetch { ranges, .. }) => Ok(fetch_ranges(host, caller, id, ranges.unwrap_or_default()).await),
        Command::Inbox(asked) => {
            let cursor = match asked.cursor.as_deref().map(Cursor::read) {
                Some(None) => {
                    return Err(Answer::refused(Code::BadRequest, "cursor: take it from the page before, as `next`"));
                }
                Some(cursor) => cursor,
                None => None,
            };
            let (limit, tail) = (asked.limit.unwrap_or(INBOX_LIMIT), asked.tail.unwrap_or(0));
            host.inbox(&caller.home, id, cursor, limit, tail).await.map_err(refused)
        }
        Command::Sync(sync) => {
            let since = host.read_token(&caller.home, sync.sync.as_deref()).map_err(|_| bad_sync())?;
            host.ask_large(&caller.home).await.map_err(refused)?;
            let differences = inbox::differences(&caller.home.lock().state, since);
            let tail = sync.tail.unwrap_or(0);
            host.changes(&caller.home, id, differences, tail).await.map_err(refused)
        }
        _ => Err(Answer::refused(Code::BadRequest, "type: this frame does not read")),
    }
}

/// What a client is told whose token cannot be read.
pub fn bad_sync() -> Answer {
    Answer::refused(Code::BadSync, "sync: this token is not one of yours; ask without one and drop what you hold")
}

async fn fetch_ranges(host: &Host, caller: &Caller, re: Option<RequestId>, ranges: Vec<Range>) -> String {
    let (mut answers, mut bytes, mut more) = (Vec::with_capacity(ranges.len()), 0, false);
    let mut pages = Vec::with_capacity(ranges.len());
    for Range { conversation, page } in ranges {
        if bytes > ANSWER_BYTES / 2 {
            more = true;
            break;
        }
        let page = fetch(host, caller, conversation, page).await;
        bytes += page.as_ref().map_or(100, |fetched| fetched.page.weight());
        pages.push((conversation, page));
    }
    for (conversation, page) in &mut pages {
        answers.push(match page {
            Ok(page) => RangeAnswer::Page(page.shown(caller)),
            Err(error) => match host.answer(std::mem::replace(error, ActError::UnknownUsers(Vec::new()))) {
                Answer::Refused(refused) => {
                    RangeAnswer::Refused { conversation: *conversation, code: refused.code, message: refused.message }
                }
                _ => unreachable!("an error is a refusal"),
            },
        });
    }
    ServerFrame::Entries(Entries { re, page: None, ranges: Some(answers), more }).to_json()
}

/// A page of one conversation's history.
pub struct Fetched {
    conversation: ConversationId,
    page: PageOf,
}

impl Fetched {
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.page.entries
    }

    /// The last entry that there was.
    pub fn last_seq(&self) -> Seq {
        self.page.last_seq
    }

    /// As the caller sees it.
    pub fn shown(&self, caller: &Caller) -> EntriesPage<'_> {
        let home = caller.home.lock();
        let hides = |user: &UserId| home.state.hides(self.conversation, user);
        let viewer = Viewer { user: &caller.user, hides: &hides };
        EntriesPage {
            conversation: self.conversation,
            entries: self.page.entries.iter().map(|entry| view::entry(entry, viewer)).collect(),
            first_seq: self.page.first_seq,
            last_seq: self.page.last_seq,
        }
    }
}

/// Reads a page, if the caller is a member.
pub async fn fetch(host: &Host, caller: &Caller, id: ConversationId, page: Page) -> Result<Fetched, ActError> {
    Ok(Fetched { conversation: id, page: host.page(id, &caller.user, page).await? })
}
