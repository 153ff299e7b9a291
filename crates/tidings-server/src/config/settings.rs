//! Every setting, once: its type, default, range and the words that explain it. The struct, the sample file, the
//! environment names and the checks all come from this table; `value` holds the macro that reads it.
//!
//! Units stand at the end of a name: `_bytes`, `_ms`, `_s`, `_per_s`. A setting stands here when something obeys it.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use tidings_proto::limits as wire;

use super::value::{Secret, choices, settings};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

settings! {
    Config {
        /// Where HTTP and WebSocket listen: an IP address and a port.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080));

        /// The data folder, made at the first start. A relative path counts from the folder the server is started in.
        data: PathBuf = PathBuf::from("./tidings-data");

        /// Where messages are kept. `embedded`: in the data folder. `cassandra`: in a cluster of Apache Cassandra (see
        /// the section `cassandra`). `memory`: nowhere, all is lost at the end of the process; for tests and benchmarks
        /// only.
        store: Store = Store::Embedded;

        /// Where blobs are: what is written once and never changes, like the archive. `local`: in the folder `blobs` of the
        /// data folder. `s3`: in a bucket (see the section `s3`).
        blobs: BlobStore = BlobStore::Local;

        /// How the nodes of a fleet reach each other. `local`: not at all, this server has the data alone and takes it
        /// over from whoever had it before. `nats`: over NATS (see the sections `nats` and `node`), as one of many; with
        /// `store = "cassandra"` only.
        bus: BusKind = BusKind::Local;

        /// The token of operators (import, export, administration). Empty: the server makes one and keeps it in
        /// `admin.token` in the data folder, readable by its user alone.
        admin_token: Option<Secret> = None;

        /// How long a stop may take: sessions are told to move within this time, then they are closed.
        drain_ms: u64 = 10_000, in 0..=600_000;
    }

    /// Who may come in.
    [auth] Auth {
        /// How people log in. `open`: a username is enough, for development and trusted networks. `jwt`: with a token
        /// that your login service signs. `header`: a gateway in front has checked who it is and says so in
        /// `X-Tidings-User`.
        mode: AuthMode = AuthMode::Open;

        /// Lets `open` listen beyond this machine. Whoever reaches the port can then be anybody.
        allow_open_anywhere: bool = false;

        /// `jwt`: a secret shared with the login service, for tokens signed with HS256.
        secret: Option<Secret> = None;
        /// `jwt`: public keys of the login service: PEM, a JWK or a JWK set.
        keys: Option<String> = None;
        /// `jwt`: a file with such keys. Read again when a token names a key that is not known, once a minute at most.
        keys_file: Option<PathBuf> = None;
        /// `jwt`: where the login service publishes its keys as a JWK set. Asked again as the file is read again; while
        /// it does not answer, the keys that are known stay good. Plain http is taken on this machine only.
        jwks_url: Option<String> = None;
        /// `jwt`: how old keys of the file or the URL may be before they are asked for anew.
        keys_age_s: u64 = 600, in 10..=86_400;
        /// `jwt`: who must have issued a token (`iss`). Empty: anybody who has the key.
        issuer: Option<String> = None;
        /// `jwt`: for whom a token must be (`aud`): one of these. Empty: a token that names an audience is refused.
        audience: Vec<String> = Vec::new();
        /// `jwt`: how much the clocks of login service and server may differ.
        leeway_s: u64 = 10, in 0..=300;
        /// `jwt`: claims that a token must have beside `exp` and the user's.
        required_claims: Vec<String> = Vec::new();
        /// `jwt`: the claim that is the user's id.
        user_claim: String = "sub".to_owned();
        /// `jwt`: the claim that is the display name. The token's name replaces one that the user has set. Empty: none.
        name_claim: Option<String> = None;
        /// `jwt`: the claim that names the device; a token that has it is good for this device only.
        device_claim: String = "device".to_owned();

        /// Where people log in: a page without a good token is sent there with `return_to` and `state`, and refused
        /// calls name it.
        login_url: Option<String> = None;
        /// Origins of this server's own page, like `https://chat.example`: only there a login service is told to
        /// return to. `localhost` and loopback addresses need not be named.
        return_origins: Vec<String> = Vec::new();

        /// `header`: networks of the gateways whose `X-Tidings-User` is believed, like `10.0.0.0/8`.
        gateways: Vec<IpNet> = Vec::new();
    }

    /// How this server is reached.
    [http] Http {
        /// Pages of these origins, like `https://app.example`, may call this server and open connections. Its own page always may.
        allowed_origins: Vec<String> = Vec::new();
        /// Networks of proxies whose word about a client's address (`X-Forwarded-For`, PROXY protocol) is believed.
        trusted_proxies: Vec<IpNet> = Vec::new();
        /// Each connection begins with the PROXY protocol, version 1 or 2. Only `trusted_proxies` can connect then.
        proxy_protocol: bool = false;
    }

    /// TLS of this server's own. Without it, put a proxy in front that does it.
    [tls] Tls {
        /// The certificate and what it is signed with, as PEM. Read again when it changes.
        cert_file: Option<PathBuf> = None;
        /// The certificate's private key, as PEM.
        key_file: Option<PathBuf> = None;
    }

    /// MQTT 3.1.1 and 5, beside the way over WebSocket that is always there (`GET /v1/mqtt`).
    [mqtt] Mqtt {
        /// Where MQTT listens: an IP address and a port, usually 127.0.0.1:1883. Empty: nowhere.
        listen: Option<SocketAddr> = None;
        /// Where MQTT listens under TLS, usually port 8883, with the certificate of `[tls]`. Empty: nowhere.
        tls_listen: Option<SocketAddr> = None;
    }

    /// What happens around blocks.
    [blocking] Blocking {
        /// Tells a sender that they are blocked. Otherwise their messages are accepted and go nowhere.
        notify_sender: bool = false;
    }

    /// Who is known.
    [users] Users {
        /// What a send to a name that was never here does: `refuse` it as `unknown_user`, or `accept` it and make
        /// the user, for products whose directory is elsewhere.
        unknown_recipient: UnknownRecipient = UnknownRecipient::Refuse;
    }

    /// Who is seen as online.
    [presence] Presence {
        /// How long a user stays online after the last session ended.
        grace_ms: u64 = 10_000, in 0..=600_000;
    }

    /// Maxima. What exceeds one is refused, never cut. Clients learn them from `welcome`.
    [limits] Limits {
        /// A frame from a client.
        frame_bytes: usize = defaults().frame_bytes, in KIB..=MIB;
        /// The text of a message.
        text_bytes: usize = defaults().text_bytes, in 1..=512 * KIB;
        /// The `data` field of a message, as JSON.
        data_bytes: usize = defaults().data_bytes, in 0..=64 * KIB;
        /// Entries a page of history.
        fetch: usize = defaults().fetch, in 1..=10_000;
        /// Ranges in one request for history.
        ranges: usize = defaults().ranges, in 1..=10_000;
        /// Items a page of the inbox.
        inbox: usize = defaults().inbox, in 1..=10_000;
        /// People whose presence one connection watches.
        watch_users: usize = defaults().watch_users, in 0..=10_000;
        /// People added or removed in one request.
        members_a_call: usize = defaults().members_a_call, in 1..=10_000;
        /// Members of a group.
        group_members: usize = defaults().group_members, in 2..=1_000_000;
        /// Characters of a group's name.
        name_chars: usize = defaults().name_chars, in 1..=1_000;
        /// A user's name.
        user_bytes: usize = defaults().user_bytes, in 1..=wire::USER_BYTES as u64;
        /// A device's name.
        device_bytes: usize = defaults().device_bytes, in 1..=wire::DEVICE_BYTES as u64;
        /// A client's id for a send.
        client_msg_id_bytes: usize = defaults().client_msg_id_bytes, in 1..=wire::CLIENT_MSG_ID_BYTES as u64;
        /// The emoji of a reaction.
        emoji_bytes: usize = defaults().emoji_bytes, in 1..=wire::EMOJI_BYTES as u64;
        /// People mentioned in one message.
        mentions: usize = defaults().mentions, in 0..=1_000;
        /// Attachments of one message.
        attachments: usize = defaults().attachments, in 0..=100;
        /// Reactions on one entry.
        reactions_an_entry: usize = defaults().reactions_an_entry, in 1..=100_000;
        /// What waits for a slow reader. Above it the connection is closed with `3001 lagging`, and resumes.
        outbox_bytes: usize = 256 * KIB as usize, in 4 * KIB..=64 * MIB;
        /// What a connection may send before it is logged in.
        unauthenticated_bytes: usize = wire::HELLO_BYTES, in 256..=64 * KIB;
        /// How long a connection may take to log in.
        unauthenticated_ms: u64 = 5_000, in 100..=60_000;
        /// Connections of one device; one more closes the oldest with `3503 replaced`.
        connections_a_device: usize = 4, in 1..=100;
        /// After this long without a frame a side asks whether the other is there.
        heartbeat_s: u64 = 25, in 1..=600;
    }

    /// How much one user, device or address may ask for, and all together. Above it a connection is first read more slowly, then refused.
    [rates] Rates {
        /// Sends of one user, over all devices.
        sends_per_s: u32 = 100, in 1..=1_000_000;
        /// Sends of one user at once.
        sends_burst: u32 = 500, in 1..=1_000_000;
        /// Logins, new connections and wrong tokens of one address.
        logins_per_s: u32 = 20, in 1..=1_000_000;
        /// Logins and new connections of one address at once.
        logins_burst: u32 = 200, in 1..=1_000_000;
        /// Requests of one device: calls and frames of every kind, sends among them.
        requests_per_s: u32 = 1_000, in 1..=1_000_000;
        /// Requests of one device at once.
        requests_burst: u32 = 10_000, in 1..=1_000_000;
        /// Logins and new connections of everybody together. When more come back at once, each of those above it is told a
        /// time of its own to come again: `3004`, 503 with `Retry-After`, or what its transport has.
        admissions_per_s: u32 = 2_000, in 1..=1_000_000;
        /// Logins and new connections of everybody together at once.
        admissions_burst: u32 = 20_000, in 1..=10_000_000;
        /// Leaves this machine's own logins and connections out of the count by address.
        loopback_exempt: bool = true;
        /// How long a connection above its rate is read more slowly before it is refused.
        slow_read_max_ms: u64 = 5_000, in 0..=60_000;
    }

    /// The journal: what is durable before anybody is told.
    [journal] Journal {
        /// The size of a file of the journal; each is filled with zeros once and used again.
        segment_bytes: u64 = 64 * MIB, in 8 * MIB..=GIB;
        /// What the journal may hold that is not in the tables yet. Nearer to it sends slow down; it bounds the
        /// time that a start after a crash takes.
        backlog_bytes: u64 = 256 * MIB, in 4 * MIB..=64 * GIB;
    }

    /// The cluster, with `store = "cassandra"`. Its tables are made by `tidings schema apply`.
    [cassandra] Cassandra {
        /// Some of its nodes, as `address:port`; the others are learned from them.
        nodes: Vec<String> = vec!["127.0.0.1:9042".to_owned()];
        /// The keyspace, all of it this server's.
        keyspace: String = "tidings".to_owned();
        /// How often each row is kept. `schema apply` makes the keyspace so, and the server refuses to start on one that
        /// has fewer: with 3 one node may be lost.
        replicas: u32 = 3, in 1..=15;
        /// Who this server is to the cluster. Empty: nobody is asked.
        user: Option<String> = None;
        /// The password of `user`.
        password: Option<Secret> = None;
        /// Speaks TLS with the nodes; their certificates must name their addresses.
        tls: bool = false;
        /// Who must have signed the nodes' certificates, as PEM. Empty: whom this system trusts.
        ca_file: Option<PathBuf> = None;
        /// This server's certificate, as PEM, where the cluster asks for one.
        cert_file: Option<PathBuf> = None;
        /// The private key of that certificate, as PEM.
        key_file: Option<PathBuf> = None;
        /// Requests under way at once. More make each slower before they make all faster.
        requests: u32 = 64, in 4..=4_096;
    }

    /// The bucket, with `blobs = "s3"`. It must be there, and this server's alone.
    [s3] S3 {
        /// Where the store is, like `https://s3.example:9000`. Empty: Amazon's, by the region.
        endpoint: Option<String> = None;
        /// The bucket's name.
        bucket: Option<String> = None;
        /// The region. Stores that have none take any.
        region: String = "us-east-1".to_owned();
        /// Who this server is to the store.
        access_key_id: Option<String> = None;
        /// The secret of that key; rather in `TIDINGS_S3_SECRET_ACCESS_KEY` than in a file.
        secret_access_key: Option<Secret> = None;
        /// Lets the endpoint be one without TLS: what is stored can then be read on the way.
        allow_http: bool = false;
    }

    /// Moving what is old out of the tables into blobs, where it takes less room. It is read as before.
    [archive] Archive {
        /// Entries older than so many months are moved, but for the newest 256 of each conversation. 0: nothing is.
        after_months: u64 = 0, in 0..=1_200;
    }

    /// This node, as the others and clients find it, with `bus = "nats"`.
    [node] Node {
        /// Its name: the same over restarts, and unlike that of every other node. Whoever starts under a name takes the
        /// place of the one before.
        name: String = "tidings".to_owned();
        /// Where clients reach this node itself, past a load balancer. They are told of it in `prefer`. Empty: they are not.
        public_url: Option<String> = None;
        /// Where other nodes connect to hand over clients that came to them. Whoever reaches it is believed: keep it
        /// within the fleet's own network.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8090));
        /// The same as others have to call it, as `host:port`. Empty: `node.listen`.
        advertise: Option<String> = None;
        /// How much it carries beside the others.
        weight: u32 = 1, in 1..=1_000;
    }

    /// The bus of a fleet, with `bus = "nats"`. It may lose frames: then messages come later, none is lost.
    [nats] Nats {
        /// Some of its servers, as `host:port`; the others are learned from them.
        servers: Vec<String> = vec!["127.0.0.1:4222".to_owned()];
        /// Fleets that share NATS servers have different names.
        fleet: String = "main".to_owned();
        /// Who this node is to NATS. Empty: nobody is asked.
        user: Option<String> = None;
        /// The password of `user`.
        password: Option<Secret> = None;
        /// A token instead of user and password.
        token: Option<Secret> = None;
        /// A file of credentials (`.creds`: a JWT and its key) instead of both.
        credentials_file: Option<PathBuf> = None;
        /// Who must have signed the servers' certificates, as PEM; asks for TLS.
        ca_file: Option<PathBuf> = None;
        /// This node's certificate, as PEM, where the servers ask for one.
        cert_file: Option<PathBuf> = None;
        /// The private key of that certificate, as PEM.
        key_file: Option<PathBuf> = None;
    }

    /// Writing what the journal holds into the tables, later and coalesced.
    [flush] Flush {
        /// How long a flush gathers.
        window_ms: u64 = 2_000, in 10..=60_000;
        /// A flush starts before its time when this much has gathered.
        window_bytes: u64 = 64 * MIB, in 64 * KIB..=GIB;
    }

    /// The tables that reads use.
    [tables] Tables {
        /// Memory for blocks that were read from disk.
        cache_bytes: u64 = 256 * MIB, in MIB..=1024 * GIB;
    }

    /// Memory for what was used lately.
    [cache] Cache {
        /// States of conversations.
        conversations_bytes: u64 = 128 * MIB, in MIB..=1024 * GIB;
        /// Homes: inboxes, devices and blocks of users.
        homes_bytes: u64 = 128 * MIB, in MIB..=1024 * GIB;
        /// Parts of the archive that were read.
        archive_bytes: u64 = 64 * MIB, in MIB..=1024 * GIB;
    }

    /// What is written about the server's own doing, to standard error.
    [log] Log {
        /// `text` for people, `json` for machines (one object a line).
        format: LogFormat = LogFormat::Text;
        /// `error`, `warn`, `info`, `debug` or `trace`, also by part: `info,tidings_server::journal=debug`.
        level: String = "info".to_owned();
    }

    /// Figures for operators.
    [metrics] Metrics {
        /// Serves `/metrics`.
        enabled: bool = true;
    }
}

choices! {
    /// Where messages are kept.
    pub enum Store { Embedded = "embedded", Cassandra = "cassandra", Memory = "memory" }

    /// Where blobs are.
    pub enum BlobStore { Local = "local", S3 = "s3" }

    /// How nodes reach each other.
    pub enum BusKind { Local = "local", Nats = "nats" }

    /// How people log in.
    pub enum AuthMode { Open = "open", Jwt = "jwt", Header = "header" }

    /// What a send to an unknown user does.
    pub enum UnknownRecipient { Refuse = "refuse", Accept = "accept" }

    /// How log lines look.
    pub enum LogFormat { Text = "text", Json = "json" }
}

fn defaults() -> wire::Limits {
    wire::Limits::default()
}

impl Limits {
    /// The part that clients are told in `welcome`.
    pub fn wire(&self) -> wire::Limits {
        wire::Limits {
            frame_bytes: self.frame_bytes,
            text_bytes: self.text_bytes,
            data_bytes: self.data_bytes,
            fetch: self.fetch,
            ranges: self.ranges,
            inbox: self.inbox,
            watch_users: self.watch_users,
            members_a_call: self.members_a_call,
            group_members: self.group_members,
            name_chars: self.name_chars,
            user_bytes: self.user_bytes,
            device_bytes: self.device_bytes,
            client_msg_id_bytes: self.client_msg_id_bytes,
            emoji_bytes: self.emoji_bytes,
            mentions: self.mentions,
            attachments: self.attachments,
            reactions_an_entry: self.reactions_an_entry,
        }
    }
}

impl Log {
    /// What to log, for the writer of the log. The storage engine tells its developers much, and the WebSocket library tells whole
    /// frames at `trace`, tokens among them: that is not for logs, whatever the level.
    pub fn filter(&self) -> String {
        format!("fjall=warn,lsm_tree=warn,scylla=error,{},tungstenite=info,tokio_tungstenite=info", self.level)
    }
}
