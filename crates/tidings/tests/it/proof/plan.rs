//! What a client does next: random, by its own seed.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use tidings_proto::{
    ConversationId, Seq, UserId,
    frames::client::{
        Ack, Block, Command, Edit, Fetch, Inbox, Leave, MarkRead, Members, Page, React, Redact, Rename, Send, Sync, To,
        Typing, Unblock,
    },
};

use super::world::{BLOCKED, BLOCKERS, MOVING, OWNER, PEOPLE, World, user};

pub struct Plan {
    me: UserId,
    rng: StdRng,
    /// Begins every `client_msg_id` of this client.
    name: String,
    made: u64,
}

impl Plan {
    pub fn new(me: &UserId, name: &str, rng: StdRng) -> Self {
        Self { me: me.clone(), rng, name: name.to_owned(), made: 0 }
    }

    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    pub fn client_msg_id(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    /// The next thing to do. `seen`: conversations that this client has, and how far.
    pub fn next(&mut self, world: &World, seen: &[(ConversationId, Seq)], sync: Option<&str>) -> Command {
        let dice = self.rng.random_range(0..100);
        let any = seen.choose(&mut self.rng).copied();
        match (dice, any) {
            (0..8, _) => self.edit(world),
            (8..12, _) => self.redact(world),
            (12..20, _) => self.react(world),
            (20..24, _) => self.change_group(world),
            (24..27, _) if BLOCKERS.contains(&self.me.as_str()) => self.block(),
            (27..35, Some((conversation, seq))) => Command::MarkRead(MarkRead { conversation, seq }),
            (35..39, Some((conversation, seq))) => Command::Ack(Ack { conversation, seq }),
            (39..46, Some((conversation, seq))) => self.fetch(conversation, seq),
            (46..49, _) => Command::Sync(Sync { sync: sync.map(str::to_owned), tail: None }),
            (49..51, _) => Command::Inbox(Inbox { limit: Some(100), ..Inbox::default() }),
            (51..53, Some((conversation, _))) => Command::Typing(Typing { conversation }),
            _ => self.send(world),
        }
    }

    pub fn send(&mut self, world: &World) -> Command {
        let others: Vec<&str> = PEOPLE.into_iter().filter(|person| *person != self.me.as_str()).collect();
        let to = match self.rng.random_range(0..10) {
            0..3 => To::Conversation(world.stable),
            3..5 => To::Conversation(world.moving),
            _ => To::User(user(others.choose(&mut self.rng).expect("there are others"))),
        };
        let words = self.rng.random_range(1..40);
        let client_msg_id = self.client_msg_id();
        let text = format!("{client_msg_id}{}", " and so on".repeat(words));
        Command::Send(Send {
            to,
            client_msg_id,
            text,
            mentions: Vec::new(),
            reply_to: None,
            attachments: Vec::new(),
            data: None,
        })
    }

    fn edit(&mut self, world: &World) -> Command {
        let Some((conversation, seq)) = self.own_message(world) else { return self.send(world) };
        let client_msg_id = self.client_msg_id();
        let text = format!("edited by {client_msg_id}");
        Command::Edit(Edit { client_msg_id, conversation, seq, text })
    }

    fn redact(&mut self, world: &World) -> Command {
        let Some((conversation, seq)) = self.own_message(world) else { return self.send(world) };
        Command::Redact(Redact { client_msg_id: self.client_msg_id(), conversation, seq })
    }

    fn react(&mut self, world: &World) -> Command {
        let Some((conversation, seq)) = world.message(self.rng.random_range(0..1_000), |id, _| id == world.stable)
        else {
            return self.send(world);
        };
        let (emoji, on) = (["👍", "🎉"].choose(&mut self.rng).expect("two").to_string(), self.rng.random());
        Command::React(React { client_msg_id: self.client_msg_id(), conversation, seq, emoji, on })
    }

    fn own_message(&mut self, world: &World) -> Option<(ConversationId, Seq)> {
        let me = self.me.clone();
        world.message(self.rng.random_range(0..1_000), |_, by| *by == me)
    }

    fn change_group(&mut self, world: &World) -> Command {
        let (client_msg_id, conversation) = (self.client_msg_id(), world.moving);
        if self.me.as_str() == OWNER {
            let person = vec![user(MOVING.choose(&mut self.rng).expect("there are some"))];
            let (add, remove) = if self.rng.random() { (person, Vec::new()) } else { (Vec::new(), person) };
            return Command::Members(Members { client_msg_id, conversation, add, remove, roles: Default::default() });
        }
        if MOVING.contains(&self.me.as_str()) && self.rng.random() {
            return Command::Leave(Leave { client_msg_id, conversation });
        }
        let name = format!("named by {client_msg_id}");
        Command::Rename(Rename { client_msg_id, conversation: world.stable, name })
    }

    fn block(&mut self) -> Command {
        if self.rng.random() {
            Command::Block(Block { user: user(BLOCKED) })
        } else {
            Command::Unblock(Unblock { user: user(BLOCKED) })
        }
    }

    fn fetch(&mut self, conversation: ConversationId, last: Seq) -> Command {
        let seq = Seq(self.rng.random_range(0..=last.0));
        let limit = Some(self.rng.random_range(1..50));
        let page = match self.rng.random_range(0..4) {
            0 => Page { limit, ..Page::default() },
            1 => Page { before: Some(seq.next()), limit, ..Page::default() },
            2 => Page { after: Some(seq), limit, ..Page::default() },
            _ => Page { around: Some(seq.next()), limit, ..Page::default() },
        };
        Command::Fetch(Fetch { conversation: Some(conversation), page, ranges: None })
    }
}
