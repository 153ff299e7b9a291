//! A disk as the strictest reading of POSIX has it: after a power cut a file has what was synced of it, and a folder the names
//! that stood in it when the folder was synced. It follows the system calls of a process, and writes out what is left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

use super::trace::Call;

const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

pub struct Disk {
    /// The folder that was there, and is durable.
    root: PathBuf,
    nodes: Vec<Node>,
    /// Open files by their numbers; several may share one position.
    open: HashMap<u64, usize>,
    positions: Vec<Position>,
}

enum Node {
    Folder { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File(Content),
}

#[derive(Default)]
struct Content {
    bytes: u64,
    pages: HashMap<u64, Page>,
    /// Written since the last sync.
    dirty: BTreeSet<u64>,
    durable_bytes: u64,
    durable: HashMap<u64, Page>,
}

struct Position {
    node: usize,
    at: u64,
    appends: bool,
}

impl Disk {
    pub fn new(root: &Path) -> Self {
        let nodes = vec![Node::Folder { now: BTreeMap::new(), durable: BTreeMap::new() }];
        Self { root: root.to_owned(), nodes, open: HashMap::new(), positions: Vec::new() }
    }

    /// Whether `call` is about a path below the root, which this tells.
    pub fn synced_path(&self, call: &Call) -> Option<PathBuf> {
        let position = self.positions.get(*self.open.get(&call.descriptor())?)?;
        self.path_of(0, position.node, Path::new(""))
    }

    fn path_of(&self, folder: usize, wanted: usize, path: &Path) -> Option<PathBuf> {
        let Node::Folder { now, .. } = &self.nodes[folder] else { return None };
        now.iter().find_map(|(name, node)| {
            let path = path.join(name);
            if *node == wanted { Some(path) } else { self.path_of(*node, wanted, &path) }
        })
    }

    pub fn follow(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" => self.opened(call),
            "close" => _ = self.open.remove(&call.descriptor()),
            "fcntl" => {
                let position = self.open.get(&call.descriptor()).copied();
                if let Some(position) = position.filter(|_| call.arguments.contains("F_DUPFD")) {
                    self.open.insert(call.result, position);
                }
            }
            "lseek" => {
                if let Some(position) = self.position(call) {
                    position.at = call.result;
                }
            }
            "write" | "writev" => self.written(call, None),
            "pwritev" | "pwrite64" => self.written(call, Some(call.last_argument())),
            "ftruncate" => {
                if let Some(content) = self.content(call) {
                    content.resize(call.last_argument());
                }
            }
            "rename" | "renameat" | "renameat2" => self.renamed(call),
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some((folder, name)) = self.place(&call.strings()[0]) {
                    self.names(folder).remove(&name);
                }
            }
            "mkdir" => {
                if let Some((folder, name)) = self.place(&call.strings()[0]) {
                    self.nodes.push(Node::Folder { now: BTreeMap::new(), durable: BTreeMap::new() });
                    let node = self.nodes.len() - 1;
                    self.names(folder).insert(name, node);
                }
            }
            "fsync" | "fdatasync" => self.synced(call),
            other => assert!(self.position(call).is_none(), "{other} is not understood here"),
        }
    }

    /// Makes a folder of what would be left if the power was cut now.
    pub fn leave(&self, folder: &Path) {
        self.leave_node(0, folder);
    }

    fn leave_node(&self, node: usize, path: &Path) {
        match &self.nodes[node] {
            Node::Folder { durable, .. } => {
                fs::create_dir_all(path).unwrap();
                for (name, node) in durable {
                    self.leave_node(*node, &path.join(name));
                }
            }
            Node::File(content) => {
                let file = fs::File::create(path).unwrap();
                file.set_len(content.durable_bytes).unwrap();
                for (page, bytes) in &content.durable {
                    let end = content.durable_bytes.saturating_sub(page * PAGE).min(PAGE);
                    file.write_all_at(&bytes[..end as usize], page * PAGE).unwrap();
                }
            }
        }
    }

    fn opened(&mut self, call: &Call) {
        let Some(node) = self.found_or_made(call) else { return };
        if let (true, Node::File(content)) = (call.arguments.contains("O_TRUNC"), &mut self.nodes[node]) {
            content.resize(0);
        }
        self.positions.push(Position { node, at: 0, appends: call.arguments.contains("O_APPEND") });
        self.open.insert(call.result, self.positions.len() - 1);
    }

    fn found_or_made(&mut self, call: &Call) -> Option<usize> {
        let path = &call.strings()[0];
        if path == self.root.as_os_str().as_encoded_bytes() {
            return Some(0);
        }
        let (folder, name) = self.place(path)?;
        if let Some(node) = self.names(folder).get(&name) {
            return Some(*node);
        }
        assert!(call.arguments.contains("O_CREAT"), "{name} was there before");
        self.nodes.push(Node::File(Content::default()));
        let node = self.nodes.len() - 1;
        self.names(folder).insert(name, node);
        Some(node)
    }

    fn written(&mut self, call: &Call, at: Option<u64>) {
        let Some(position) = self.open.get(&call.descriptor()).copied() else { return };
        let bytes = call.strings().concat();
        let position = &mut self.positions[position];
        let Node::File(content) = &mut self.nodes[position.node] else { panic!("a folder is not written to") };
        let begin = if position.appends { content.bytes } else { at.unwrap_or(position.at) };
        content.write(begin, &bytes[..call.result as usize]);
        if at.is_none() {
            position.at = begin + call.result;
        }
    }

    fn renamed(&mut self, call: &Call) {
        let paths = call.strings();
        let (Some((from, old)), Some((to, new))) = (self.place(&paths[0]), self.place(&paths[1])) else { return };
        let node = self.names(from).remove(&old).expect("what is renamed is there");
        self.names(to).insert(new, node);
    }

    fn synced(&mut self, call: &Call) {
        let Some(position) = self.open.get(&call.descriptor()) else { return };
        match &mut self.nodes[self.positions[*position].node] {
            Node::Folder { now, durable } => durable.clone_from(now),
            Node::File(content) => content.sync(),
        }
    }

    fn position(&mut self, call: &Call) -> Option<&mut Position> {
        let position = *self.open.get(&call.descriptor())?;
        self.positions.get_mut(position)
    }

    fn content(&mut self, call: &Call) -> Option<&mut Content> {
        let node = self.position(call)?.node;
        match &mut self.nodes[node] {
            Node::File(content) => Some(content),
            Node::Folder { .. } => None,
        }
    }

    fn names(&mut self, folder: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[folder] {
            Node::Folder { now, .. } => now,
            Node::File(_) => panic!("names stand in folders"),
        }
    }

    /// Folder and name of a path below the root.
    fn place(&mut self, path: &[u8]) -> Option<(usize, String)> {
        let path = Path::new(std::str::from_utf8(path).unwrap()).strip_prefix(&self.root).ok()?;
        let mut names: Vec<String> = path
            .components()
            .map(|name| match name {
                Component::Normal(name) => name.to_str().unwrap().to_owned(),
                other => panic!("{other:?} in a path"),
            })
            .collect();
        let last = names.pop()?;
        let mut folder = 0;
        for name in names {
            folder = *self.names(folder).get(&name)?;
        }
        Some((folder, last))
    }
}

impl Content {
    fn write(&mut self, mut at: u64, mut bytes: &[u8]) {
        self.bytes = self.bytes.max(at + bytes.len() as u64);
        while !bytes.is_empty() {
            let (page, begin) = (at / PAGE, (at % PAGE) as usize);
            let length = bytes.len().min(PAGE as usize - begin);
            let (now, later) = bytes.split_at(length);
            let stored = self.pages.entry(page).or_insert([0; PAGE as usize]);
            stored[begin..begin + length].copy_from_slice(now);
            self.dirty.insert(page);
            at += length as u64;
            bytes = later;
        }
    }

    fn resize(&mut self, bytes: u64) {
        let end = bytes.div_ceil(PAGE);
        self.pages.retain(|page, _| *page < end);
        if let Some(last) = self.pages.get_mut(&(bytes / PAGE)) {
            last[(bytes % PAGE) as usize..].fill(0);
            self.dirty.insert(bytes / PAGE);
        }
        self.bytes = bytes;
    }

    fn sync(&mut self) {
        let end = self.bytes.div_ceil(PAGE);
        self.durable.retain(|page, _| *page < end);
        for page in std::mem::take(&mut self.dirty).into_iter().filter(|page| *page < end) {
            if let Some(bytes) = self.pages.get(&page) {
                self.durable.insert(page, *bytes);
            }
        }
        self.durable_bytes = self.bytes;
    }
}
