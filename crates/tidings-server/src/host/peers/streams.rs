//! Ordered, whole delivery to other nodes over a bus that may lose and repeat: what is sent and not confirmed is sent again.
//! Pure: it tells what to send.
//!
//! To each node goes one batch of a class at a time; the next one gathers meanwhile. An item is for whoever hosts its shard:
//! if that moves, those that the old host has refused, or died with, go on to the new one before any later one of that shard.
//! That may be this node itself: it is one to which batches go as well.

use std::{collections::VecDeque, time::Duration};

use tidings_proto::{ConversationId, Seq, ShardId, UserId};
use tokio::time::Instant;

use crate::{
    host::shards::Place,
    maps::{HashMap, HashSet},
    node::NodeId,
    session::reply::Answer,
};

use super::wire::{Behind, Class, Frame, Item};

/// The most that one batch carries, by weight: well below the bus's longest frame and a journal's largest commit.
const BATCH_BYTES: usize = 192 << 10;
/// What is not confirmed after this time is sent again.
const AGAIN: Duration = Duration::from_millis(400);

pub struct Streams {
    me: NodeId,
    outgoing: HashMap<(NodeId, Class), Outgoing>,
    /// Shards with items that are not confirmed.
    routes: HashMap<(Class, ShardId), Route>,
    /// Whose homes have not confirmed what these conversations told them, and from which entry on.
    untold: HashMap<ConversationId, HashMap<UserId, Untold>>,
    /// By weight, all of it.
    bytes: usize,
    /// Of the last batch to anybody. It never begins anew: a node that was not known for a moment still knows what it had.
    last_number: u64,
}

#[derive(Default)]
struct Outgoing {
    number: u64,
    in_flight: Vec<Item>,
    sent_at: Option<Instant>,
    waiting: VecDeque<Item>,
}

struct Route {
    node: NodeId,
    /// Items on the way to `node`, in flight or waiting.
    under_way: usize,
    /// They go to the next host when `node` has answered for all others.
    parked: VecDeque<Parked>,
}

struct Parked {
    item: Item,
    /// It is for this node, whoever the next host is.
    bound: Option<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Untold {
    tells: usize,
    first_seq: Seq,
}

impl Streams {
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            outgoing: HashMap::default(),
            routes: HashMap::default(),
            untold: HashMap::default(),
            bytes: 0,
            last_number: 0,
        }
    }

    /// By weight, what is not confirmed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something told by this conversation is not confirmed; to whom, and from which entry on.
    pub fn untold(&self, conversation: ConversationId) -> Vec<(UserId, Seq)> {
        let users = self.untold.get(&conversation);
        users
            .map(|users| users.iter().map(|(user, untold)| (user.clone(), untold.first_seq)).collect())
            .unwrap_or_default()
    }

    /// A host before has told this user's home of this conversation, from this entry on, and died without being sure. It stays so.
    pub fn note_untold(&mut self, conversation: ConversationId, user: UserId, first_seq: Seq) {
        let users = self.untold.entry(conversation).or_default();
        let untold = users.entry(user).or_insert(Untold { tells: 0, first_seq });
        untold.tells += 1;
        let is_before = first_seq > Seq::NONE && (untold.first_seq == Seq::NONE || first_seq < untold.first_seq);
        untold.first_seq = if is_before { first_seq } else { untold.first_seq };
    }

    /// The nodes to which something is on its way, or will be.
    pub fn nodes(&self) -> HashSet<NodeId> {
        let bound = self.routes.values().flat_map(|route| &route.parked).filter_map(|parked| parked.bound);
        self.outgoing.keys().map(|(node, _)| *node).chain(bound).collect()
    }

    /// Whether something told to homes of this shard is not confirmed.
    pub fn has_tells_for(&self, shard: ShardId) -> bool {
        self.routes.contains_key(&(Class::Tells, shard))
    }

    /// Takes an item for a node itself.
    pub fn push_to(&mut self, node: NodeId, item: Item) {
        self.bytes += item.weight();
        self.wait(node, item);
    }

    /// Takes an answer for a node. It stays behind what was told to the home of who asked, also while that waits to be told.
    pub fn push_answer(&mut self, node: NodeId, command: u64, answer: Answer, behind: Behind) {
        let shard = behind.home;
        let Some(route) = self.routes.get_mut(&(Class::Tells, shard)) else {
            return self.push_to(node, Item::Answer { command, answer, behind: None, is_late: false });
        };
        let item = Item::Answer { command, answer, behind: Some(behind), is_late: false };
        self.bytes += item.weight();
        if route.node == node && route.parked.is_empty() {
            route.under_way += 1;
            self.wait(node, item);
        } else {
            route.parked.push_back(Parked { item, bound: Some(node) });
        }
    }

    /// Takes an item for whoever hosts its shard.
    pub fn push(&mut self, item: Item, place: &Place) {
        let Some(shard) = item.shard() else { return };
        self.bytes += item.weight();
        self.note(&item);
        let node = self.node_at(place);
        // While it is nobody's it waits for a node that there is not.
        let first = || Route { node: node.unwrap_or(NodeId::from_u128(0)), under_way: 0, parked: VecDeque::new() };
        let route = self.routes.entry((item.class(), shard)).or_insert_with(first);
        match node {
            Some(node) if route.node == node && route.parked.is_empty() => {
                route.under_way += 1;
                self.wait(node, item);
            }
            _ => route.parked.push_back(Parked { item, bound: None }),
        }
    }

    fn node_at(&self, place: &Place) -> Option<NodeId> {
        match place {
            Place::Here => Some(self.me),
            Place::There(node) => Some(node.id),
            Place::Moving => None,
        }
    }

    fn wait(&mut self, node: NodeId, item: Item) {
        self.outgoing.entry((node, item.class())).or_default().waiting.push_back(item);
    }

    /// The frames that are to be sent now.
    pub fn due(&mut self, now: Instant) -> Vec<(NodeId, Frame)> {
        let mut frames = Vec::new();
        for (&(node, class), outgoing) in &mut self.outgoing {
            let is_late = outgoing.sent_at.is_some_and(|sent_at| now.duration_since(sent_at) >= AGAIN);
            if outgoing.in_flight.is_empty() {
                outgoing.fill(&mut self.last_number);
            } else if !is_late {
                continue;
            }
            if !outgoing.in_flight.is_empty() {
                outgoing.sent_at = Some(now);
                let items = outgoing.in_flight.clone();
                frames.push((node, Frame::Batch { class, number: outgoing.number, items }));
            }
        }
        frames
    }

    /// Frames may have been lost: all that is in flight is due.
    pub fn interrupted(&mut self) {
        self.outgoing.values_mut().for_each(|outgoing| outgoing.sent_at = outgoing.sent_at.map(|at| at - AGAIN));
    }

    /// A batch was taken, but for those items whose shard is not there. Returns the numbers of commands that were refused.
    pub fn confirmed(&mut self, node: NodeId, class: Class, number: u64, refused: &[u32]) -> Vec<u64> {
        let Some(outgoing) = self.outgoing.get_mut(&(node, class)) else { return Vec::new() };
        if outgoing.number != number || outgoing.in_flight.is_empty() {
            return Vec::new();
        }
        outgoing.sent_at = None;
        let items = std::mem::take(&mut outgoing.in_flight);
        let is_refused = |at: usize| u32::try_from(at).is_ok_and(|at| refused.contains(&at));
        let (back, taken): (Vec<_>, Vec<_>) = items.into_iter().enumerate().partition(|(at, _)| is_refused(*at));
        taken.iter().for_each(|(_, item)| self.done(item));
        let (bound, back): (Vec<_>, Vec<_>) =
            back.into_iter().map(|(_, item)| item).partition(|item| item.shard().is_none());
        bound.iter().for_each(|item| self.done(item));
        self.park(node, class, back.into_iter());
        let commands = bound.iter().filter_map(|item| match item {
            Item::Command { number, .. } => Some(*number),
            _ => None,
        });
        commands.collect()
    }

    /// This node is no more: what was on the way to it goes elsewhere, but for what was meant for the node itself.
    pub fn gone(&mut self, node: NodeId) {
        for class in [Class::Tells, Class::Commands] {
            let Some(outgoing) = self.outgoing.remove(&(node, class)) else { continue };
            let (bound, back): (Vec<_>, Vec<_>) =
                outgoing.in_flight.into_iter().chain(outgoing.waiting).partition(|item| item.shard().is_none());
            bound.iter().for_each(|item| self.done(item));
            self.park(node, class, back.into_iter());
        }
        self.drop_parked(|parked| parked.bound == Some(node));
    }

    /// Whether something waits for its shard's next host.
    pub fn has_parked(&self) -> bool {
        self.routes.values().any(|route| route.under_way == 0 && !route.parked.is_empty())
    }

    /// Sends parked items on their way again.
    pub fn settle(&mut self, place: impl Fn(ShardId) -> Place) {
        let settled: Vec<_> =
            self.routes.iter().filter(|(_, route)| route.under_way == 0).map(|(key, _)| *key).collect();
        for key in settled {
            let Some(node) = self.node_at(&place(key.1)) else { continue };
            let Some(route) = self.routes.remove(&key) else { continue };
            let mut under_way = 0;
            for Parked { mut item, bound } in route.parked {
                let to = bound.unwrap_or(node);
                if to == node {
                    under_way += 1;
                } else {
                    item.be_late();
                }
                self.wait(to, item);
            }
            if under_way > 0 {
                self.routes.insert(key, Route { node, under_way, parked: VecDeque::new() });
            }
        }
    }

    /// Conversations for which this says so are not told of by this node any more, nor are answers given that come behind it:
    /// whoever hosts them next tells, and is asked, again.
    pub fn drop_told_by(&mut self, is_gone: impl Fn(ConversationId) -> bool) {
        let is_dropped = |item: &Item| item.told_by().is_some_and(&is_gone);
        let mut dropped = Vec::new();
        for outgoing in self.outgoing.values_mut() {
            // What is in flight stays: the batch is one.
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut outgoing.waiting).into_iter().partition(&is_dropped);
            outgoing.waiting = kept;
            dropped.extend(gone);
        }
        for item in &dropped {
            self.done(item);
        }
        self.drop_parked(|parked| is_dropped(&parked.item));
        // What is in flight is still counted as untold: confirmed later, it would else stand for what is told when they are back.
    }

    fn drop_parked(&mut self, is_dropped: impl Fn(&Parked) -> bool) {
        let mut dropped = Vec::new();
        self.routes.retain(|_, route| {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut route.parked).into_iter().partition(&is_dropped);
            route.parked = kept;
            dropped.extend(gone);
            route.under_way > 0 || !route.parked.is_empty()
        });
        for parked in &dropped {
            self.forget(&parked.item);
        }
    }

    /// Puts items, in order, where they wait for their shard's next host, and behind them what else was on the way to this one.
    fn park(&mut self, node: NodeId, class: Class, items: impl Iterator<Item = Item>) {
        let mut by_shard: HashMap<ShardId, VecDeque<Parked>> = HashMap::default();
        for item in items {
            if let Some(shard) = item.shard() {
                by_shard.entry(shard).or_default().push_back(Parked { item, bound: None });
            }
        }
        if let Some(outgoing) = self.outgoing.get_mut(&(node, class)).filter(|_| !by_shard.is_empty()) {
            for item in std::mem::take(&mut outgoing.waiting) {
                let bound = if item.shard().is_none() { Some(node) } else { None };
                match item.route().and_then(|shard| by_shard.get_mut(&shard)) {
                    Some(back) => back.push_back(Parked { item, bound }),
                    None => outgoing.waiting.push_back(item),
                }
            }
        }
        for (shard, mut back) in by_shard {
            if let Some(route) = self.routes.get_mut(&(class, shard)) {
                route.under_way -= back.len();
                back.append(&mut route.parked);
                route.parked = back;
            }
        }
    }

    /// An item has arrived.
    fn done(&mut self, item: &Item) {
        if let Some(shard) = item.route()
            && let Some(route) = self.routes.get_mut(&(item.class(), shard))
        {
            route.under_way -= 1;
            if route.under_way == 0 && route.parked.is_empty() {
                self.routes.remove(&(item.class(), shard));
            }
        }
        self.forget(item);
    }

    fn note(&mut self, item: &Item) {
        let Item::Tell { user, tell, .. } = item else { return };
        let users = self.untold.entry(tell.conversation).or_default();
        let untold = users.entry_ref(user).or_insert(Untold { tells: 0, first_seq: tell.first_seq() });
        untold.tells += 1;
        if untold.first_seq == Seq::NONE {
            untold.first_seq = tell.first_seq();
        }
    }

    fn forget(&mut self, item: &Item) {
        self.bytes -= item.weight();
        let Item::Tell { user, tell, .. } = item else { return };
        let Some(users) = self.untold.get_mut(&tell.conversation) else { return };
        let Some(untold) = users.get_mut(user) else { return };
        untold.tells -= 1;
        if untold.tells == 0 {
            users.remove(user);
        }
        if users.is_empty() {
            self.untold.remove(&tell.conversation);
        }
    }
}

impl Outgoing {
    /// Puts the next batch together.
    fn fill(&mut self, last_number: &mut u64) {
        let mut bytes = 0;
        while let Some(item) = self.waiting.front() {
            bytes += item.weight();
            if bytes > BATCH_BYTES && !self.in_flight.is_empty() {
                break;
            }
            self.in_flight.extend(self.waiting.pop_front());
        }
        if !self.in_flight.is_empty() {
            *last_number += 1;
            self.number = *last_number;
        }
    }
}

#[cfg(test)]
mod tests;
