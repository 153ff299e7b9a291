//! Reads the sources and fails on what must not be there: imports against the direction of the design, files that
//! grew too long or do not say what they own, bare unwraps, words that DESIGN replaced by others.
//!
//! It knows Rust only as far as it needs to: comments and texts are blanked, `use` trees are unfolded. A negative
//! control shows that each rule finds what it is for.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A path that must not be named in some places.
struct Absence {
    path: &'static str,
    /// Where it must not be: beginnings of file paths below `crates/`.
    within: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const SERVER: &str = "tidings-server/src/";
const JOURNAL: &str = "tidings-server/src/journal/";
const TABLES: &str = "tidings-server/src/tables/";
const EDGE: &str = "tidings-server/src/edge/";

const ABSENCES: &[Absence] = &[
    Absence { path: "crate::session", within: &[JOURNAL, TABLES], except: &[], why: "storage knows no session" },
    Absence { path: "crate::edge", within: &[JOURNAL, TABLES], except: &[], why: "storage knows no edge" },
    Absence { path: "crate::home", within: &[JOURNAL, TABLES], except: &[], why: "storage knows no home" },
    Absence { path: "crate::conversation", within: &[JOURNAL], except: &[], why: "a commit of the journal is bytes" },
    Absence { path: "crate::tables", within: &[JOURNAL], except: &[], why: "the journal does not know who reads it" },
    Absence { path: "crate::journal", within: &[EDGE], except: &[], why: "edges turn bytes into frames, no more" },
    Absence { path: "crate::tables", within: &[EDGE], except: &[], why: "edges turn bytes into frames, no more" },
    Absence { path: "axum", within: &[SERVER], except: &[EDGE], why: "only edges know the web framework" },
    Absence {
        path: "mqtt_protocol_core",
        within: &[SERVER],
        except: &["tidings-server/src/edge/mqtt/wire"],
        why: "only one edge speaks MQTT, and of it only its wire",
    },
    Absence {
        path: "fjall",
        within: &[SERVER],
        except: &["tidings-server/src/tables/embedded"],
        why: "only the embedded tables know their engine",
    },
    Absence {
        path: "scylla",
        within: &[SERVER],
        except: &[
            "tidings-server/src/cassandra/",
            "tidings-server/src/journal/cassandra/",
            "tidings-server/src/tables/cassandra/",
        ],
        why: "only what stands in Cassandra knows its driver",
    },
    Absence {
        path: "async_nats",
        within: &[SERVER],
        except: &["tidings-server/src/bus/nats"],
        why: "only one bus knows what carries it",
    },
    Absence {
        path: "object_store",
        within: &[SERVER],
        except: &["tidings-server/src/blobs/"],
        why: "only blobs know the library behind them",
    },
    Absence {
        path: "crate::conversation",
        within: &["tidings-server/src/blobs/"],
        except: &[],
        why: "a blob is bytes",
    },
    Absence {
        path: "rustix",
        within: &[SERVER],
        except: &["tidings-server/src/journal/file", "tidings-server/src/data_folder.rs"],
        why: "only files that must be durable need the system's own calls",
    },
    Absence {
        path: "std::env",
        within: &[SERVER],
        except: &["tidings-server/src/config/"],
        why: "settings are read in one place",
    },
    Absence { path: "tokio", within: &["tidings-proto/"], except: &[], why: "the wire needs no runtime" },
    Absence { path: "std::net", within: &["tidings-proto/"], except: &[], why: "the wire does no I/O" },
    Absence { path: "std::fs", within: &["tidings-proto/"], except: &[], why: "the wire does no I/O" },
];

/// The journal's numbers are the tables' low-water mark; nothing else of the journal is theirs.
const TABLES_MAY_NAME: [&str; 2] = ["crate::journal::Position", "crate::journal::NodeId"];

/// Words that DESIGN section 2 replaced, as parts of names and in prose, and what to say.
const WORDS: &[(&str, &str)] = &[
    ("leader", "host"),
    ("follower", "node"),
    ("chatroom", "conversation"),
    ("conv", "conversation"),
    ("convs", "conversations"),
    ("msgs", "messages"),
    ("usr", "user"),
    ("mgr", "what it manages"),
    ("ctx", "what it holds"),
];

const MAX_LINES: usize = 500;

/// Longer files, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

struct Source {
    /// Below `crates/`.
    path: String,
    text: String,
}

#[test]
fn the_sources_are_tidy() {
    let sources = sources();
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    let findings: Vec<String> = sources.iter().flat_map(findings).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// A rule about a folder that was renamed would hold for nothing.
#[test]
fn each_rule_has_its_folder() {
    let crates = crates();
    let places = ABSENCES.iter().flat_map(|absence| absence.within.iter().chain(absence.except));
    let gone: Vec<_> = places.filter(|place| !crates.join(place).exists()).collect();
    assert!(gone.is_empty(), "rules name what does not exist: {gone:?}");
}

/// Documents say where something is as `file.rs: name`; both must be there.
#[test]
fn the_documents_name_what_exists() {
    let root = crates().parent().expect("`crates` is in the repository").to_owned();
    for document in ["ARCHITECTURE.md", "docs/life-of-a-message.md"] {
        let text = fs::read_to_string(root.join(document)).expect("the document is there");
        let places: Vec<_> = text.split('`').skip(1).step_by(2).filter(|code| code.contains(".rs")).collect();
        assert!(places.len() > 5, "{document} names {} places", places.len());
        let wrong: Vec<_> = places.into_iter().filter_map(|place| wrong_place(&root, place)).collect();
        assert!(wrong.is_empty(), "{document}:\n{}", wrong.join("\n"));
    }
    assert!(wrong_place(&root, "host/act.rs: no_such_function").is_some());
    assert!(wrong_place(&root, "host/nowhere.rs").is_some());
}

fn wrong_place(root: &Path, place: &str) -> Option<String> {
    let (file, name) = place.split_once(": ").map_or((place, None), |(file, name)| (file, Some(name)));
    let path = if file.starts_with("crates/") { root.join(file) } else { root.join("crates").join(SERVER).join(file) };
    let path = if file.starts_with("tests/") { root.join("crates/tidings-server").join(file) } else { path };
    let Ok(text) = fs::read_to_string(&path) else { return Some(format!("there is no file {file}")) };
    let is_there = |name: &str| {
        let kinds = ["fn", "struct", "enum"];
        kinds.iter().any(|kind| ["(", "<", " "].iter().any(|end| text.contains(&format!("{kind} {name}{end}"))))
    };
    name.filter(|name| !is_there(name)).map(|name| format!("{file} has no {name}"))
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let bad = Source {
        path: "tidings-server/src/edge/bad.rs".to_owned(),
        text: "use crate::{config::Config, journal::{self, Position}};\n\
               #[cfg(test)]\nmod tests;\n\
               fn conv_of(leader: u8) { fjall::open().unwrap(); super::super::tables::get(); }\n"
            .to_owned()
            + &"\n".repeat(MAX_LINES),
    };
    let found = findings(&bad).join("\n");
    for expected in [
        "says nothing at its head",
        "504 lines",
        "`crate::journal`",
        "`crate::tables`",
        "`fjall`",
        "bare unwrap",
        "\"conv\"",
        "\"leader\"",
    ] {
        assert!(found.contains(expected), "{expected} is not among\n{found}");
    }

    let good = Source {
        path: "tidings-server/src/edge/good.rs".to_owned(),
        text: "//! Owns `fjall::open().unwrap()` in comments only.\n\
               const TEXT: &str = \"crate::journal \\\" fjall::x\"; // crate::tables\n\
               fn f<'a>(c: &'a str) -> char { axum::serve(); '\"' }\n\
               #[cfg(test)]\nmod tests { fn g() { fjall::open().unwrap(); } }\n"
            .to_owned(),
    };
    assert_eq!(findings(&good), Vec::<String>::new());
}

/// What is wrong with one file, a line each.
fn findings(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    // A `tests.rs` belongs to the file beside it, which says it.
    if !source.text.starts_with("//! ") && !source.path.ends_with("/tests.rs") {
        found.push("says nothing at its head: `//!` what it owns and what it must not do".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        found.push(format!("has {lines} lines, more than {MAX_LINES}: give a part of it a file of its own"));
    }
    found.extend(forbidden_words(&source.text));
    if !is_test(&source.path) {
        let code = code_of(&source.text);
        found.extend(forbidden_paths(&source.path, &code));
        if code.contains(".unwrap()") {
            found.push("has a bare unwrap: use `expect(\"why it cannot fail\")`".to_owned());
        }
    }
    found.into_iter().map(|what| format!("crates/{}: {what}", source.path)).collect()
}

fn forbidden_paths(file: &str, code: &str) -> Vec<String> {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| file.starts_with(prefix));
    let mut absences: Vec<&Absence> =
        ABSENCES.iter().filter(|absence| begins(absence.within) && !begins(absence.except)).collect();
    let no_journal =
        Absence { path: "crate::journal", within: &[TABLES], except: &[], why: "the tables know positions only" };
    if file.starts_with(TABLES) {
        absences.push(&no_journal);
    }
    let mut found = Vec::new();
    for path in paths(file, code) {
        let names =
            |absent: &str| path == absent || path.strip_prefix(absent).is_some_and(|rest| rest.starts_with("::"));
        let allowed = file.starts_with(TABLES) && TABLES_MAY_NAME.into_iter().any(names);
        for absence in absences.iter().filter(|absence| !allowed && names(absence.path)) {
            found.push(format!("names `{}`, but {}", absence.path, absence.why));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn forbidden_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    WORDS
        .iter()
        .filter(|(word, _)| words.contains(word))
        .map(|(word, instead)| format!("says {word:?}: here that is {instead:?}"))
        .collect()
}

/// Every path in `code`: those of `use` trees unfolded, `super` and `self` resolved.
fn paths(file: &str, code: &str) -> Vec<String> {
    let module = module_of(file);
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let from = &rest[start..];
        let tree = from.strip_prefix("use ").and_then(|tree| tree.split_once(';'));
        if let Some((tree, behind)) = tree {
            unfold("", tree, &mut paths);
            rest = behind;
            continue;
        }
        let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(from.len());
        if from[..end].contains("::") {
            paths.push(from[..end].trim_end_matches(':').to_owned());
        }
        rest = &from[end..];
    }
    paths.iter().map(|path| resolve(&module, path)).collect()
}

fn unfold(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.split_whitespace().next().unwrap_or_default()));
        return;
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                unfold(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    unfold(&prefix, &inner[start..], paths);
}

/// `tidings-server/src/edge/websocket.rs` is `crate::edge::websocket`.
fn module_of(file: &str) -> Vec<&str> {
    let inside = file.split_once("/src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
    let inside = inside.trim_end_matches("/mod");
    ["crate"].into_iter().chain(inside.split('/').filter(|part| !["", "lib", "main"].contains(part))).collect()
}

fn resolve(module: &[&str], path: &str) -> String {
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    if let Some(first) = parts.first().filter(|first| ["super", "self"].contains(first)) {
        let mut base = module.to_vec();
        let ups = if *first == "self" { 0 } else { parts.iter().take_while(|part| **part == "super").count() };
        base.truncate(base.len().saturating_sub(ups).max(1));
        parts.splice(0..ups.max(1), base);
    }
    if parts.last() == Some(&"self") {
        parts.pop();
    }
    parts.join("::")
}

/// The code of a file without its tests; comments and the insides of texts are blanks.
fn code_of(text: &str) -> String {
    let blanked = blank(text);
    let mut code = String::new();
    let mut rest = blanked.as_str();
    while let Some((before, item)) = rest.split_once("#[cfg(test)]") {
        code.push_str(before);
        rest = &item[item_length(item)..];
    }
    code + rest
}

/// The length of the item that `code` begins with: to its `;`, or to the end of its braces.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at + 1;
        }
    }
    code.len()
}

fn blank(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if c == '"' {
            text_length(rest)
        } else if rest.starts_with("'\\") || (c == '\'' && rest.chars().nth(2) == Some('\'')) {
            rest.char_indices().skip(2).find(|(_, c)| *c == '\'').map_or(rest.len(), |(end, _)| end + 1)
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skip..];
    }
    code
}

/// The length of the text in quotes that `rest` begins with.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_test(path: &str) -> bool {
    ["/tests/", "/benches/", "/examples/", "/tests.rs", "/conformance"].iter().any(|part| path.contains(part))
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in `crates`").to_owned()
}

fn sources() -> Vec<Source> {
    let crates = crates();
    let mut folders: Vec<PathBuf> = vec![crates.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).expect("folders of `crates` can be read") {
            let path = item.expect("folders of `crates` can be read").path();
            // This file names what it forbids.
            if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests/tidy.rs") {
                let name = path.strip_prefix(&crates).expect("the walk begins there").to_string_lossy().into_owned();
                sources.push(Source { path: name, text: fs::read_to_string(&path).expect("sources are UTF-8") });
            } else if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            }
        }
    }
    sources
}
