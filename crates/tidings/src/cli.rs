//! The words of the command line (PROTOCOL, "Command line and settings").

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidings_client::Way;

use crate::bench::BenchArgs;

/// A messaging server and its clients.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Where the server is
    #[arg(long, global = true, env = "TIDINGS_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// Who this is, if not the user who logged in last
    #[arg(long, global = true, env = "TIDINGS_USER", value_name = "USER")]
    pub user: Option<String>,
    /// The name of this installation
    #[arg(long, global = true, value_name = "NAME")]
    pub device: Option<String>,
    /// How to reach the server: where no WebSocket gets through, events or polls do; bench fanout and idle: what is measured
    #[arg(long, global = true, env = "TIDINGS_TRANSPORT", value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,
    /// Print JSON, one value a line
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    Ws,
    Sse,
    Poll,
    Mqtt,
}

impl From<Transport> for Way {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Ws => Self::WebSocket,
            Transport::Sse => Self::Events,
            Transport::Poll => Self::Polls,
            Transport::Mqtt => Self::Mqtt,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Serve),
    /// Log in and remember who this is
    Login {
        /// A username
        user: String,
    },
    /// Send a message, saved when the command returns
    Send(Send),
    /// Follow one conversation, or all, as it happens
    Tail(Tail),
    /// Print what was said
    History(History),
    /// Print the conversations, latest activity first
    Inbox,
    /// One's own devices: where one is logged in
    Devices {
        #[command(subcommand)]
        act: Option<DeviceAct>,
    },
    /// Talk, full-screen
    Chat {
        /// Open this conversation: its id, a group's name or a user
        conversation: Option<String>,
    },
    /// Put the messages of a file into a group (for operators)
    Import(Import),
    /// Print a whole conversation as JSON lines (for operators)
    Export(Export),
    /// Move what is old out of the tables, or see what was moved (for operators)
    #[command(subcommand)]
    Archive(Archive),
    /// Look at the nodes of a fleet, or take one out of it (for operators)
    #[command(subcommand)]
    Cluster(Cluster),
    /// Move a server that works alone into a cluster, while it serves (for operators)
    #[command(subcommand)]
    Migrate(Migrate),
    /// Check that inboxes, states and logs in a data folder fit each other; the server must be stopped
    Fsck(Fsck),
    /// Measure how fast this is on this machine
    Bench(BenchArgs),
    /// Stand in for a login service, to try auth.mode = "jwt" (never for production: whoever asks is believed)
    DevLogin(DevLogin),
    /// The tables in a Cassandra cluster, with store = "cassandra"
    #[command(subcommand)]
    Schema(Schema),
    /// Print or check a settings file
    #[command(subcommand)]
    Config(Config),
}

#[derive(Debug, Subcommand)]
pub enum DeviceAct {
    /// Print them (without a word as well)
    List,
    /// Name one
    Name {
        /// As the list has it
        // Not `device`: that is this installation, of every command.
        #[arg(value_name = "DEVICE")]
        which: String,
        /// What to call it; empty: nothing
        name: String,
    },
    /// Log one out: its connections end, and it has to log in again
    Revoke {
        /// As the list has it
        // Not `device`: that is this installation, of every command.
        #[arg(value_name = "DEVICE")]
        which: String,
    },
}

#[derive(Debug, Args)]
pub struct DevLogin {
    /// Where to listen: an address of this machine alone
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS:PORT")]
    pub listen: std::net::SocketAddr,
    /// How long a token is good, in seconds
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    pub life_s: u64,
    /// Where a login may return to, like http://127.0.0.1:8080; without it anywhere on this machine
    #[arg(long, value_name = "ORIGIN")]
    pub return_to: Option<String>,
}

/// The settings of a server: those of a file, and some by name.
#[derive(Debug, Args)]
pub struct Settings {
    /// A settings file (`tidings config sample` prints one)
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting, such as log.format=json
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where the messages are kept [default: ./tidings-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct Send {
    /// A user, a group's unique name, or a conversation's id
    pub to: String,
    /// What to say; - reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub text: String,
    /// The seq of the message this answers
    #[arg(long, value_name = "SEQ")]
    pub reply_to: Option<u64>,
    /// Whom to call, besides; @all for everybody
    #[arg(long = "mention", value_name = "USER")]
    pub mentions: Vec<String>,
    /// The message's own id: sending it again with the same one does not double it
    #[arg(long, value_name = "ID")]
    pub client_msg_id: Option<String>,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// An id, a group's name or a user; without it, all conversations
    pub conversation: Option<String>,
    /// Begin with so many messages of before
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=200))]
    pub lines: u16,
}

#[derive(Debug, Args)]
pub struct History {
    /// An id, a group's name or a user
    pub conversation: String,
    /// At most so many entries
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Only what was said before this seq
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,
    /// Only what was said after this seq, the oldest first
    #[arg(long, value_name = "SEQ", conflicts_with = "before")]
    pub after: Option<u64>,
    /// From the first to the last entry
    #[arg(long, conflicts_with_all = ["before", "after", "limit"])]
    pub all: bool,
}

/// What an operator shows.
#[derive(Debug, Args)]
pub struct Operator {
    /// The operator's token
    #[arg(long, env = "TIDINGS_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// The server's data folder, whose admin.token is shown
    #[arg(long, env = "TIDINGS_DATA", default_value = "./tidings-data", value_name = "DIR")]
    pub data: PathBuf,
}

#[derive(Debug, Args)]
pub struct Import {
    /// JSON lines with from, text and at (and day), plain or .gz
    pub file: PathBuf,
    /// The group's name; made if there is none of it among the imported ones
    #[arg(long, value_name = "NAME")]
    pub conversation: String,
    /// A user who owns the group and can read it
    #[arg(long, value_name = "USER")]
    pub owner: Option<String>,
    #[command(flatten)]
    pub operator: Operator,
}

#[derive(Debug, Args)]
pub struct Export {
    /// An id, an imported group's name, or a user (with --user: their conversation)
    pub conversation: String,
    #[command(flatten)]
    pub operator: Operator,
}

#[derive(Debug, Args)]
pub struct Fsck {
    /// Mend what follows from the rest; each fault is named as without it
    #[arg(long)]
    pub mend: bool,
    /// No node of the fleet runs: with store = "cassandra" its data is taken over for the check
    #[arg(long)]
    pub all_stopped: bool,
    /// Where the messages are kept [default: ./tidings-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Do a round now, and wait for its end (Ctrl-C ends the waiting, not the round)
    Run(Operator),
    /// Say what was archived since the server started
    Status(Operator),
}

#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Print the nodes: who lives, who hosts how much, what is on its way
    Status {
        /// Print again every two seconds, until Ctrl-C
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        operator: Operator,
    },
    /// A node hands its shards over, moves its sessions, leaves the fleet and stops
    Drain {
        /// Its name or id
        node: String,
        /// Return when it is out of the fleet
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        operator: Operator,
    },
    /// A node is dead and does not come back: the others take its shards at once
    Remove {
        /// Its name or id
        node: String,
        /// Although it says that it lives; it stops when it finds out
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        operator: Operator,
    },
}

#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// From the data folder of a running server into Cassandra: copy, follow what is written, then hand over and stop it.
    /// The settings are those of the servers to come: cassandra.*, blobs and s3.* say where to
    EmbeddedToCassandra(MigrateToCassandra),
}

#[derive(Debug, Args)]
pub struct MigrateToCassandra {
    #[command(flatten)]
    pub settings: Settings,
    /// Write at most so many rows a second; 0: as fast as it goes
    #[arg(long, default_value_t = 0, value_name = "ROWS")]
    pub rate: u64,
    /// Copy and follow, and do not hand over yet
    #[arg(long)]
    pub no_switch: bool,
    #[command(flatten)]
    pub operator: Operator,
}

#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Make what is missing of keyspace and tables. Before the first start, by one person on one machine
    Apply(ApplySchema),
}

#[derive(Debug, Args)]
pub struct ApplySchema {
    /// Print the statements and run none
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print a settings file that explains every setting
    Sample,
    /// Say what is wrong with a settings file
    Check { file: PathBuf },
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
