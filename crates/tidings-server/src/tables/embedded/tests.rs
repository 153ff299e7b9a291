use std::{fs, path::Path};

use bytes::Bytes;
use tidings_proto::UserId;

use super::*;
use crate::tables::{
    Version,
    conformance::{self, Place},
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

fn options(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions { path: path.to_owned(), cache_bytes: 1024 * 1024 }
}

#[async_trait]
impl Place for Folder {
    async fn open(&self) -> Arc<dyn Tables> {
        Arc::new(EmbeddedTables::open(options(&self.0.path().join("tables"))).await.unwrap())
    }

    async fn reopen(&self, tables: Arc<dyn Tables>) -> Arc<dyn Tables> {
        assert_eq!(Arc::strong_count(&tables), 1);
        drop(tables);
        self.open().await
    }
}

#[tokio::test]
async fn embedded_tables_keep_the_promises() {
    conformance::promises(&Folder::new()).await;
}

#[test]
fn embedded_tables_agree_with_the_reference() {
    conformance::agrees_with_the_reference(Folder::new, 12);
}

fn home(name: &str, version: u64, value: impl Into<Bytes>) -> Row {
    let key = Key::Home(UserId::new(name).unwrap());
    Row { key, version: Version(version), value: Some(value.into()) }
}

fn member(name: &str, version: u64, value: Option<&'static str>) -> Row {
    let key = Key::Member(ConversationId::from_bytes([7; 16]), UserId::new(name).unwrap());
    Row { key, version: Version(version), value: value.map(|value| Bytes::from_static(value.as_bytes())) }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// A copy of the folder is what a crash at that moment leaves (the files of an ingestion are synced before it returns).
/// It is taken when compaction is done: a copy is not made in one moment.
#[tokio::test]
async fn a_crash_at_any_step_finds_the_rows_of_every_flush_mark() {
    let place = Folder::new();
    let path = place.0.path().join("tables");
    let tables = EmbeddedTables::open(options(&path)).await.unwrap();
    let mut crashes = Vec::new();
    for n in 1..=6 {
        let rows = vec![home("ada", n, n.to_string()), member("bob", n, Some("item"))];
        tables.put_max(rows, Freshness::Newest).await.unwrap();
        crashes.push((n, Position(n - 1)));
        tables.settle().await.unwrap();
        copy(&path, &place.0.path().join(format!("{n} put")));
        tables.set_flushed(Position(n)).await.unwrap();
        crashes.push((n, Position(n)));
        tables.settle().await.unwrap();
        copy(&path, &place.0.path().join(format!("{n} marked")));
    }
    for (version, mark) in crashes {
        let step = if mark.0 == version { "marked" } else { "put" };
        let crashed = EmbeddedTables::open(options(&place.0.path().join(format!("{version} {step}")))).await.unwrap();
        assert_eq!(crashed.flushed().await.unwrap(), mark);
        let rows = crashed.get(vec![home("ada", 0, "").key, member("bob", 0, None).key]).await.unwrap();
        assert!(
            rows.iter().all(|row| row.as_ref().is_some_and(|row| row.version == Version(version))),
            "{version} {step}"
        );
    }
}

/// What stands in the tables, or the error that reading it met.
async fn read_all(path: &Path) -> Result<Vec<(Key, Stored)>, TablesError> {
    let tables = EmbeddedTables::open(options(path)).await?;
    assert_eq!(tables.flushed().await?, Position(3));
    let mut rows = tables.rows(Prefix::Homes, None, 1_000).await?;
    rows.extend(tables.rows(Prefix::Members(ConversationId::from_bytes([7; 16])), None, 1_000).await?);
    for name in 0..40 {
        let key = home(&format!("user {name:02}"), 0, "").key;
        let row = tables.get(vec![key.clone()]).await?.remove(0);
        assert!(row.is_some_and(|row| rows.contains(&(key, row))), "a row is gone");
    }
    tables.verify().await?;
    Ok(rows)
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_named_or_does_no_harm() {
    let place = Folder::new();
    let path = place.0.path().join("tables");
    let tables = EmbeddedTables::open(options(&path)).await.unwrap();
    for n in 1..=3 {
        let mut rows: Vec<_> = (0..40).map(|name| home(&format!("user {name:02}"), n, "some state")).collect();
        rows.extend((0..10).map(|name| member(&format!("user {name:02}"), n, Some("owner"))));
        tables.put_max(rows, Freshness::Newest).await.unwrap();
        tables.set_flushed(Position(n)).await.unwrap();
    }
    drop(tables);
    let expected = read_all(&path).await.unwrap();
    assert_eq!(expected.len(), 50);

    let (mut named, mut harmless) = (0, 0);
    for file in files(&path) {
        let whole = fs::read(&file).unwrap();
        let step = (whole.len() / 24).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&file, &flipped).unwrap();
            match read_all(&path).await {
                Ok(rows) => {
                    assert!(rows == expected, "{} at {at}: other rows without an error", file.display());
                    harmless += 1;
                }
                Err(TablesError::Damaged { place, .. }) => {
                    assert!(place.starts_with(&*path.to_string_lossy()), "{place}");
                    named += 1;
                }
                Err(other) => panic!("{} at {at}: {other}", file.display()),
            }
            fs::write(&file, &whole).unwrap();
            assert!(
                read_all(&path).await.unwrap() == expected,
                "{} at {at}: opening it harmed the rest",
                file.display()
            );
        }
    }
    assert!(named > 10 * harmless, "{named} flips were reported, {harmless} did no harm");
}

#[tokio::test]
async fn deleted_rows_leave_the_disk_once_a_flush_mark_is_behind_them() {
    let place = Folder::new();
    let tables = EmbeddedTables::open(options(&place.0.path().join("tables"))).await.unwrap();
    let names: Vec<_> = (0..2_000).map(|n| format!("user {n}")).collect();
    tables
        .put_max(names.iter().map(|name| member(name, 1, Some("member"))).collect(), Freshness::Newest)
        .await
        .unwrap();
    tables.put_max(names.iter().map(|name| member(name, 2, None)).collect(), Freshness::Newest).await.unwrap();
    tables.settle().await.unwrap();
    let before = tables.status().disk_bytes;
    // The mark, and enough segments for compaction to have work.
    for n in 1..=8 {
        tables.set_flushed(Position(n)).await.unwrap();
        tables
            .put_max(names.iter().take(1).map(|name| member(name, 2 + n, None)).collect(), Freshness::Newest)
            .await
            .unwrap();
    }
    tables.settle().await.unwrap();
    let after = tables.status().disk_bytes;
    assert!(after < before / 2, "{before} bytes before, {after} after");
}

#[tokio::test]
async fn a_second_opening_is_refused_and_a_folder_without_its_lists_is_not_taken_for_new() {
    let place = Folder::new();
    let path = place.0.path().join("tables");
    let tables = EmbeddedTables::open(options(&path)).await.unwrap();
    let second = EmbeddedTables::open(options(&path)).await;
    assert!(
        matches!(second.map(drop), Err(TablesError::Failed(error)) if error.to_string().contains("another process"))
    );
    drop(tables);
    fs::remove_file(path.join("keyspaces/1/current")).unwrap();
    assert!(matches!(EmbeddedTables::open(options(&path)).await.map(drop), Err(TablesError::Damaged { .. })));
}
