//! What operators see of the fleet, and how they take a node out of it: by the word that it shall drain, or that it is dead.

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use tidings_proto::{Code, SHARDS};
use utoipa::ToSchema;

use crate::{
    cluster::{
        member::{Known, Member, operate::OperateError},
        suspicion::STILL,
        view::{Node, NodeState},
    },
    config::Config,
    node::NodeId,
    session::reply::Answer,
};

use super::{super::Edge, admin::Operator, documents::Calls, input::Body, object, problem};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let status = calls.on("get", "/v1/admin/cluster", "The nodes of the fleet, and who hosts how much").of_operators();
    status.gives::<Fleet>(200, "As the node that answers knows it");
    let drain = calls.on("post", "/v1/admin/cluster/drain", "A node hands over what it hosts, leaves and stops");
    let drain = drain.of_operators().takes::<WhoDrains>().gives::<Fleet>(200, "It is to drain; ask how far it is");
    drain.refuses(&[Code::NotFound, Code::Conflict]);
    let remove = calls.on("post", "/v1/admin/cluster/remove", "A node is dead: the others take what it hosts");
    let remove = remove.of_operators().takes::<WhoIsDead>().gives::<Fleet>(200, "It is not in the view any more");
    remove.refuses(&[Code::NotFound, Code::Conflict]);
}

/// The fleet, as one of its nodes knows it.
#[derive(Serialize, ToSchema)]
struct Fleet {
    /// It has one node because it is none: this server works alone.
    is_alone: bool,
    /// Rises with each change of the nodes or their states.
    view_epoch: u64,
    /// The view that the counts of shards are of; behind `view_epoch` they are being counted.
    counted_epoch: u64,
    shards: usize,
    /// Shards that are not where they shall be: on their way, or waiting for it.
    moving: usize,
    /// By name; those that are gone and still host shards last.
    nodes: Vec<FleetNode>,
}

#[derive(Serialize, ToSchema)]
struct FleetNode {
    /// Of this run of the node.
    id: String,
    /// Stays over restarts. `null`: it is gone.
    name: Option<String>,
    /// Where clients reach it, if it says so.
    url: Option<String>,
    /// Where other nodes reach it.
    address: Option<String>,
    weight: u32,
    state: FleetState,
    /// For how long it has not said that it lives.
    quiet_ms: u64,
    /// That is too long: it is taken for dead, if no more were lately than may be.
    is_silent: bool,
    /// How many shards it hosts, and how many it shall host.
    hosted: usize,
    wished: usize,
    /// It is the one that answers.
    answers: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FleetState {
    Live,
    /// It hands over what it hosts.
    Draining,
    /// It is not in the view any more, and what it hosted is being taken from it.
    Gone,
}

impl Fleet {
    /// A server without others, which hosts everything.
    fn alone(config: &Config) -> Self {
        let shards = usize::from(SHARDS);
        let node = FleetNode {
            id: String::new(),
            name: Some(config.node.name.clone()),
            url: config.node.public_url.clone(),
            address: None,
            weight: config.node.weight,
            state: FleetState::Live,
            quiet_ms: 0,
            is_silent: false,
            hosted: shards,
            wished: shards,
            answers: true,
        };
        Self { is_alone: true, view_epoch: 0, counted_epoch: 0, shards, moving: 0, nodes: vec![node] }
    }

    fn of(known: &Known, me: NodeId) -> Self {
        let members = known.view.nodes().iter().map(|node| FleetNode::member(known, node, me));
        let is_gone = |id: &&NodeId| known.view.node(**id).is_none();
        let mut gone: Vec<_> = known.round.hosted.keys().filter(is_gone).copied().collect();
        gone.sort();
        let gone = gone.into_iter().map(|id| FleetNode::gone(known, id, me));
        Self {
            is_alone: false,
            view_epoch: known.view.epoch,
            counted_epoch: known.round.view_epoch,
            shards: usize::from(SHARDS),
            moving: known.round.moving,
            nodes: members.chain(gone).collect(),
        }
    }
}

impl FleetNode {
    fn member(known: &Known, node: &Node, me: NodeId) -> Self {
        let state = match node.state {
            NodeState::Live => FleetState::Live,
            NodeState::Draining => FleetState::Draining,
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            name: Some(node.name.clone()),
            url: some(&node.url),
            address: some(&node.door),
            weight: node.weight,
            state,
            ..Self::gone(known, node.id, me)
        }
    }

    /// What there is to say of one that is not in the view.
    fn gone(known: &Known, id: NodeId, me: NodeId) -> Self {
        let quiet = if id == me { Default::default() } else { known.quiet.get(&id).copied().unwrap_or_default() };
        let count = |counts: &std::collections::HashMap<NodeId, usize>| counts.get(&id).copied().unwrap_or(0);
        Self {
            id: id.to_string(),
            name: None,
            url: None,
            address: None,
            weight: 0,
            state: FleetState::Gone,
            quiet_ms: u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX),
            is_silent: quiet >= STILL,
            hosted: count(&known.round.hosted),
            wished: count(&known.round.wished),
            answers: id == me,
        }
    }
}

pub async fn status(State(edge): State<Edge>, _: Operator) -> Response {
    object(&match &edge.fleet {
        Some(member) => Fleet::of(&member.known(), member.id()),
        None => Fleet::alone(&edge.host.config),
    })
}

#[derive(Deserialize, ToSchema)]
pub struct WhoDrains {
    /// Its name or id.
    node: String,
}

pub async fn drain(State(edge): State<Edge>, _: Operator, Body(WhoDrains { node }): Body<WhoDrains>) -> Response {
    let Some(member) = &edge.fleet else { return refuse_alone() };
    answer(member, member.drain_other(&node).await)
}

#[derive(Deserialize, ToSchema)]
pub struct WhoIsDead {
    /// Its name or id.
    node: String,
    /// Although it says that it lives.
    #[serde(default)]
    force: bool,
}

pub async fn remove(State(edge): State<Edge>, _: Operator, Body(who): Body<WhoIsDead>) -> Response {
    let Some(member) = &edge.fleet else { return refuse_alone() };
    answer(member, member.remove_other(&who.node, who.force).await)
}

fn refuse_alone() -> Response {
    let why =
        "this server works alone (bus = \"local\"): there is no fleet to take a node out of; stop it with SIGTERM";
    problem::of(&Answer::refused(Code::Conflict, why))
}

fn answer(member: &Member, outcome: Result<NodeId, OperateError>) -> Response {
    let error = match outcome {
        Ok(_) => return object(&Fleet::of(&member.known(), member.id())),
        Err(error) => error,
    };
    let code = match &error {
        OperateError::Unknown(..) => Code::NotFound,
        OperateError::NobodyElse(_) | OperateError::Itself(_) | OperateError::Alive { .. } => Code::Conflict,
        OperateError::Store(_) | OperateError::Late => Code::Unavailable,
    };
    problem::of(&Answer::refused(code, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, time::Duration};

    use super::*;
    use crate::cluster::{
        member::{Membership, Round},
        view::View,
    };

    #[test]
    fn a_fleet_is_told_with_who_drains_who_is_silent_and_who_is_gone() {
        let [me, draining, gone] = [1, 2, 3].map(|byte| NodeId::from_bytes([byte; 16]));
        let node = |id, name: &str, state| Node {
            id,
            name: name.to_owned(),
            url: String::new(),
            weight: 2,
            state,
            door: format!("{name}:8090"),
        };
        let view = View::default().joined(node(me, "b", NodeState::Live));
        let view = view.joined(node(draining, "a", NodeState::Draining));
        let known = Known {
            membership: Membership::In(NodeState::Live),
            view: Arc::new(view),
            quiet: HashMap::from([
                (draining, STILL),
                (gone, Duration::from_secs(90)),
                (me, Duration::from_millis(900)),
            ]),
            round: Round {
                view_epoch: 1,
                hosted: HashMap::from([(me, 10), (draining, 4), (gone, 2)]),
                wished: HashMap::from([(me, 16)]),
                moving: 6,
            },
        };
        let told = serde_json::to_value(Fleet::of(&known, me)).unwrap();
        let of = |field: &str| -> Vec<String> {
            told["nodes"].as_array().unwrap().iter().map(|node| node[field].to_string()).collect()
        };
        assert_eq!(of("name"), ["\"a\"", "\"b\"", "null"]);
        assert_eq!(of("state"), ["\"draining\"", "\"live\"", "\"gone\""]);
        assert_eq!(of("is_silent"), ["true", "false", "true"]);
        assert_eq!(of("quiet_ms"), ["3000", "0", "90000"]);
        assert_eq!(of("hosted"), ["4", "10", "2"]);
        assert_eq!(of("wished"), ["0", "16", "0"]);
        assert_eq!(of("answers"), ["false", "true", "false"]);
        assert_eq!(of("url"), ["null", "null", "null"]);
        assert_eq!((&told["moving"], &told["view_epoch"], &told["counted_epoch"]), (&6.into(), &2.into(), &1.into()));
    }
}
